"""How far vectors lie from what a site's vectors usually are: Mahalanobis distance in the site's own statistics.

Shape suffixes: N vectors, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIDGE = 1e-3  # of the mean variance: an axis that hardly varied among the fitted vectors decides nothing by itself


@dataclass(frozen=True)
class Distribution:
    """``mean_D`` and ``whitening_DD``: (x - mean) @ whitening has the length that is x's distance."""

    mean_D: Tensor
    whitening_DD: Tensor

    @classmethod
    def fit(cls, x_ND: np.ndarray, ridge: float = RIDGE) -> Distribution:
        """Of x's mean and covariance, to whose axes ``ridge`` times their mean variance is added. In float64.

        Raises ``ValueError`` for vectors that do not vary.
        """
        wide_ND = x_ND.astype(np.float64)
        mean_D = wide_ND.mean(0)
        centred_ND = wide_ND - mean_D
        variances_D, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND / len(x_ND))
        variances_D = variances_D.clip(0)
        if variances_D.sum() == 0:
            raise ValueError("vectors that do not vary have no distribution to be far from")
        scale_D = 1 / np.sqrt(variances_D + ridge * variances_D.mean())
        return cls(torch.from_numpy(mean_D).float(), torch.from_numpy(axes_DD * scale_D).float())

    def to(self, device: torch.device | str) -> Distribution:
        """The same on a device."""
        return Distribution(self.mean_D.to(device), self.whitening_DD.to(device))

    def distances(self, x: Tensor) -> Tensor:
        """Of float32 [..., D] at each position [...]: sqrt((x - mean)' (covariance + ridge)^-1 (x - mean))."""
        return ((x - self.mean_D) @ self.whitening_DD).norm(dim=-1)
