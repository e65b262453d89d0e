"""Held-out metrics of an SAE, from global sums: never a mean of per-batch ratios."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sae.errors import SAEError
from sae.model import SAE

# Edges of the density histogram: below 1e-6, then two bins a decade up to 1. Latents that never fire are not in it.
DENSITY_EDGES = tuple(float(10 ** (-6 + i / 2)) for i in range(13))


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

    def density_histogram(self) -> list[int]:
        """Latents that fired, by density: int [13], bins as ``DENSITY_EDGES`` says, the last one from 1e-0.5 to 1."""
        fired = self.density[self.density > 0]
        inner = np.array(DENSITY_EDGES[:-1])
        return np.bincount(np.searchsorted(inner, fired, side="right"), minlength=len(DENSITY_EDGES)).tolist()


@torch.no_grad()
def evaluate(sae: SAE, chunks: Iterable[np.ndarray]) -> Metrics:
    """Metrics over all vectors of ``chunks`` (float32 [n, D] each), sums in float64."""
    return evaluate_all([sae], chunks)[0]


@torch.no_grad()
def evaluate_all(saes: list[SAE], chunks: Iterable[np.ndarray], device: str = "cpu") -> list[Metrics]:
    """``evaluate`` for several SAEs of one width of vectors, from one read; the SAEs end up on the CPU."""
    sums = [_ErrorSums(sae.to(device), device) for sae in saes]
    total, square, count = 0.0, 0.0, 0
    for chunk in chunks:
        x_ND = torch.from_numpy(chunk)
        for one in sums:
            one.add(x_ND)
        wide = chunk.astype(np.float64)
        total = total + wide.sum(0)
        square = square + np.einsum("nd,nd->d", wide, wide)
        count += len(chunk)
    if not count:
        raise SAEError("there are no held-out vectors: prompts.splits.dictionary must be at least 1")
    spread_D = np.asarray(square - total**2 / count)
    varies_D = spread_D > 1e-12 * np.asarray(square).sum()
    for sae in saes:
        sae.to("cpu")
    return [one.metrics(spread_D, varies_D, count) for one in sums]


class _ErrorSums:
    def __init__(self, sae: SAE, device: str) -> None:
        self.sae, self.device = sae, device
        self.error_D = np.zeros(sae.d)
        self.fired_M = torch.zeros(sae.n, dtype=torch.int64, device=device)

    def add(self, x_ND: Tensor) -> None:
        x_ND = x_ND.to(self.device)
        values, latents = self.sae.encode(x_ND)
        self.error_D += (x_ND - self.sae.decode(values, latents)).double().square().sum(0).cpu().numpy()
        self.fired_M += torch.bincount(latents[values > 0], minlength=self.sae.n)

    def metrics(self, spread_D: np.ndarray, varies_D: np.ndarray, count: int) -> Metrics:
        fvu = float(self.error_D.sum() / spread_D.sum())
        return Metrics(
            explained_variance=1.0 - fvu,
            fvu=fvu,
            scaled_mse=float((self.error_D[varies_D] / spread_D[varies_D]).mean()),
            l0=float(self.fired_M.sum()) / count,
            dead_fraction=float((self.fired_M == 0).double().mean()),
            n_vectors=count,
            density=self.fired_M.cpu().numpy() / count,
        )


def stability(first_MD: Tensor, second_MD: Tensor) -> float:
    """Mean cosine of the concept vectors of two SAEs, matched one to one so that the mean is largest.

    1 when both found the same directions in any order. Random directions have about sqrt(2 ln M / D).
    """
    return float(partner_cosines(first_MD, second_MD).mean())


def partner_cosines(first_MD: Tensor, second_MD: Tensor) -> np.ndarray:
    """Cosine of each concept vector of the first SAE to its partner in that matching, float32 [M] in [-1, 1]."""
    a = torch.nn.functional.normalize(first_MD.detach().float().cpu(), dim=1)
    b = torch.nn.functional.normalize(second_MD.detach().float().cpu(), dim=1)
    cosine = (a @ b.T).clamp(-1, 1).numpy()
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return cosine[rows, columns]  # rows are 0 to M - 1: there are as many of either
