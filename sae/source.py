"""Where vectors come from: the interface that training needs, and statistics of one streaming pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sae.errors import SAEError


class VectorSource(Protocol):
    """``n_vectors`` vectors of width ``d``, in order by ``chunks`` or shuffled by ``batches`` (float32 numpy)."""

    n_vectors: int
    d: int

    def chunks(self) -> Iterator[np.ndarray]:
        """All vectors once, [n, d] at a time."""

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled [batch_size, d], a last partial batch dropped, starting at batch ``skip``."""


@dataclass(frozen=True)
class Statistics:
    """Mean [D] float32, ``scale`` (1 / RMS deviation per channel) and gamma = |mean| / |deviation|."""

    mean: Tensor
    scale: float
    gamma: float
    rms_norm: float  # root mean square of |x|, the unit of an intervention's strength


def measure(source: VectorSource) -> Statistics:
    """One streaming pass in float64. Raises ``SAEError`` on values that are not finite or do not vary."""
    total, square, count = np.zeros(source.d), 0.0, 0
    for chunk in source.chunks():
        if not np.isfinite(chunk).all():
            raise SAEError("the training vectors hold a value that is not finite: run `concepts verify` on the study")
        wide = chunk.astype(np.float64)
        total += wide.sum(0)
        square += float((wide**2).sum())
        count += len(chunk)
    if not count:
        raise SAEError("there are no training vectors: prompts.splits.train must be at least 1")
    mean = total / count
    variance = square / count - float((mean**2).sum())
    if variance <= 0:
        raise SAEError("the training vectors do not vary: check sites.blocks and the model's weights")
    scale = float(np.sqrt(source.d / variance))
    gamma = float(np.sqrt((mean**2).sum() / variance))
    return Statistics(torch.from_numpy(mean).float(), scale, gamma, float(np.sqrt(square / count)))
