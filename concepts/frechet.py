"""The Frechet distance of two sets of images in a judge's features, and what chance alone makes of it.

Shape suffixes: N images, F features.
"""

from __future__ import annotations

import numpy as np

LEAST = 2  # images without which there is no covariance


def frechet_distance(x_NF: np.ndarray, y_NF: np.ndarray) -> float | None:
    """|m - n|^2 + tr(S + T - 2 (S T)^(1/2)) of the images' means m, n and covariances S, T; None for fewer than two.

    The squared distance of Heusel et al. (2017), eq. 6. Of few images it is too large, since the covariances have to be
    estimated: by how much, ``frechet_chance`` says.
    """
    if min(len(x_NF), len(y_NF)) < LEAST:
        return None
    apart = x_NF.mean(0, dtype=np.float64) - y_NF.mean(0, dtype=np.float64)
    x_RF, y_RF = _root(x_NF), _root(y_NF)
    # With S = A'A and T = B'B the eigenvalues of S T are the squared singular values of A B'.
    shared = np.linalg.svd(x_RF @ y_RF.T, compute_uv=False).sum()
    return max(float(apart @ apart + (x_RF**2).sum() + (y_RF**2).sum() - 2 * shared), 0.0)


def frechet_chance(x_NF: np.ndarray, splits: int, seed: int) -> float | None:
    """The mean distance between two random halves of the images; None where a half would hold fewer than two.

    Half as many images on either side, so larger than what chance adds to the distance of all of them.
    """
    half = len(x_NF) // 2
    if half < LEAST:
        return None
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(x_NF)) for _ in range(splits))
    return float(np.mean([frechet_distance(x_NF[order[:half]], x_NF[order[half : 2 * half]]) for order in orders]))


def _root(x_NF: np.ndarray) -> np.ndarray:
    """A [min(N, F), F] whose A'A is the covariance of x."""
    centred = x_NF.astype(np.float64) - x_NF.mean(0, dtype=np.float64)
    return np.asarray(np.linalg.qr(centred / np.sqrt(len(x_NF) - 1), mode="r"))
