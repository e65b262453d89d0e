"""Held-out metrics of an SAE, from global sums: never a mean of per-batch ratios."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from sae.errors import SAEError
from sae.model import TopKSAE


@dataclass(frozen=True)
class Metrics:
    """FVU = sum |x - x_hat|^2 / sum |x - mean|^2 over all vectors; explained variance = 1 - FVU.

    ``scaled_mse`` is the paper's name for the same ratio, averaged over channels that vary; ``l0`` the mean number
    of latents on; ``dead_fraction`` latents that never fired; ``density`` [M] how often each did.
    """

    explained_variance: float
    fvu: float
    scaled_mse: float
    l0: float
    dead_fraction: float
    n_vectors: int
    density: np.ndarray


@torch.no_grad()
def evaluate(sae: TopKSAE, chunks: Iterable[np.ndarray]) -> Metrics:
    """Metrics over all vectors of ``chunks`` (float32 [n, D] each), sums in float64."""
    error, total, square = np.zeros(sae.d), np.zeros(sae.d), np.zeros(sae.d)
    fired, count = torch.zeros(sae.n, dtype=torch.int64), 0
    for chunk in chunks:
        x = torch.from_numpy(chunk)
        values, indices = sae.encode(x)
        error += (x - sae.decode(values, indices)).double().square().sum(0).numpy()
        wide = chunk.astype(np.float64)
        total += wide.sum(0)
        square += (wide**2).sum(0)
        fired += torch.bincount(indices[values > 0], minlength=sae.n)
        count += len(chunk)
    if not count:
        raise SAEError("there are no held-out vectors: prompts.splits.dictionary must be at least 1")
    spread = square - total**2 / count
    fvu = float(error.sum() / spread.sum())
    varies = spread > 1e-12 * square.sum()
    return Metrics(
        explained_variance=1.0 - fvu,
        fvu=fvu,
        scaled_mse=float((error[varies] / spread[varies]).mean()),
        l0=float(fired.sum()) / count,
        dead_fraction=float((fired == 0).double().mean()),
        n_vectors=count,
        density=fired.numpy() / count,
    )
