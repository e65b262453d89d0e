"""What an edit does to a residual update, given an SAE's concept vectors (paper, section 5, and what lies beside it).

Every operation works on the update itself, so that no SAE error enters, and only where ``share`` [B, H, W] says so: 0
leaves a position as it is, 1 does all. Shapes: delta [B, H, W, D]; codes (values, latents) of it, each [B * H * W, K];
vectors [M, D]; cids [C].
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from concepts.interventions import contribution

Codes = tuple[Tensor, Tensor]


def add(delta: Tensor, direction_BD: Tensor, size: float, share: Tensor) -> Tensor:
    """delta + size * direction, each image along its own unit direction; ``size`` in the update's own unit."""
    return delta + size * share[..., None] * direction_BD[:, None, None, :].to(delta)


def ablate(delta: Tensor, codes: Codes, vectors: Tensor, cids: Tensor, share: Tensor) -> Tensor:
    """delta less what the concepts write, sum_c Z_c f_c."""
    return delta - share[..., None] * _written(delta, codes, vectors, cids)


def replace(delta: Tensor, codes: Codes, vectors: Tensor, cids: Tensor, direction_BD: Tensor, share: Tensor) -> Tensor:
    """What the concepts write taken away, and as much in norm added along another direction, position by position."""
    written = _written(delta, codes, vectors, cids)
    instead = written.norm(dim=-1, keepdim=True) * direction_BD[:, None, None, :].to(delta)
    return delta + share[..., None] * (instead - written)


def clamp(delta: Tensor, codes: Codes, vectors: Tensor, cids: Tensor, levels_C: Tensor, share: Tensor) -> Tensor:
    """Every concept's code set to its level, a quantile of its own activations, wherever it stands now."""
    at_levels = (levels_C.to(delta)[:, None] * vectors[cids].to(delta)).sum(0)
    return delta + share[..., None] * (at_levels - _written(delta, codes, vectors, cids))


def _written(delta: Tensor, codes: Codes, vectors: Tensor, cids: Tensor) -> Tensor:
    return contribution(*codes, vectors, cids).reshape(delta.shape).to(delta)


def activation_levels(values: np.ndarray, latents: np.ndarray, cids: Sequence[int], quantile: float) -> np.ndarray:
    """float64 [C]: a quantile of each concept's activations where it is on; 0 for one that never is.

    ``values`` and ``latents`` are codes of any shape, the same for both. Raises ``ValueError`` for a quantile outside
    [0, 1].
    """
    if not 0.0 <= quantile <= 1.0:
        raise ValueError(f"quantile is {quantile}: give one of 0 to 1")
    levels = []
    for cid in cids:
        own = values[(latents == cid) & (values > 0)]
        levels.append(float(np.quantile(own, quantile)) if own.size else 0.0)
    return np.array(levels)


def schedule(points: Sequence[tuple[float, float]], t: float) -> float:
    """Strength at a time, linear between the given (t, factor), constant before the first and after the last."""
    times, factors = zip(*sorted(points), strict=True)
    return float(np.interp(t, times, factors))


def ones(delta: Tensor) -> Tensor:
    """The share of an edit that acts everywhere: [B, H, W]."""
    return torch.ones(delta.shape[:3], dtype=delta.dtype, device=delta.device)
