"""Dictionaries that nobody trained, as SAEs: what a trained one is compared with.

Each reads a vector with the transpose of what it writes (a tied encoder), without bias but for the mean:
z = TopK(ReLU(rows (x - mean))). Shape suffixes: N vectors, D channels, M directions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sae.io import build
from sae.model import SAE

SHUFFLED_DECODER, NEURONS, PCA = "shuffled_decoder", "neurons", "pca"


def shuffled_decoder(sae: SAE, k: int, seed: int) -> SAE:
    """Directions of the trained norms and entries, without their structure, read by their own transposes.

    Every concept vector has its entries permuted by itself, so that neither its direction nor what it shares with
    others is left.
    """
    rng = np.random.default_rng(seed)
    rows_MD = sae.concept_vectors().cpu().numpy()
    shuffled_MD = torch.from_numpy(rng.permuted(rows_MD, axis=1))
    return _tied(Path(SHUFFLED_DECODER), shuffled_MD, sae.b_dec, k)


def principal_directions(x_ND: np.ndarray) -> Tensor:
    """float32 [D, D]: unit rows, in order of falling variance of x [N, D].

    As scikit-learn's ``PCA``, which only the bench's extra brings, while these are controls of every study's labels.
    """
    centred = x_ND - x_ND.mean(0)
    _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    return torch.from_numpy(np.ascontiguousarray(vectors[:, ::-1].T, np.float32))


def both_poles(origin: Path, directions_MD: Tensor, mean_D: Tensor, k: int) -> SAE:
    """The k strongest of signed directions: latent m is the positive pole of row m, M + m its negative one.

    At most M, since of two poles one alone is on. ``origin`` is what an ``SAEError`` names where a value is not finite.
    """
    return _tied(origin, torch.cat([directions_MD, -directions_MD]), mean_D, min(k, len(directions_MD)))


def _tied(origin: Path, rows_MD: Tensor, bias_D: Tensor, k: int) -> SAE:
    weights = {"W_enc": rows_MD.T, "b_enc": torch.zeros(len(rows_MD)), "W_dec": rows_MD, "b_dec": bias_D}
    return build(origin, weights, k)
