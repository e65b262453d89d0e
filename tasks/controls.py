"""The controls of labelling: what would pass for labelled concepts without a trained dictionary.

Each is an SAE of the trained one's sparsity, so that everything after encoding is one code path:

``untrained``         the SAE as it is drawn, before a step of training
``frozen``            trained with its decoder held at random directions (if ``sae.frozen_control`` keeps one)
``shuffled_decoder``  the trained concept vectors, each with its entries shuffled over the channels, as a tied encoder
``neurons``           the block's channels, both signs
``pca``               principal directions of the training vectors, both signs

A sixth, ``shuffled_positions``, keeps the trained codes and moves the masks' cells; it is in ``tasks.overlaps``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sae.io import build, load_sae
from sae.model import SAE
from tasks.study import Site, Study, sae_folder, site_path, split_range, store_of
from tasks.train import FROZEN, UNTRAINED

FIT_VECTORS = 30_000  # classical decompositions of at most 128 channels do not gain from more
SHUFFLED_DECODER, NEURONS, PCA = "shuffled_decoder", "neurons", "pca"


def control_encoders(study: Study, site: Site, k: int, sae: SAE) -> Iterator[tuple[str, SAE]]:
    """Every control of one trained SAE by name, each made when it is asked for."""
    folder = sae_folder(study, site, k)
    yield UNTRAINED, load_sae(folder / UNTRAINED)
    if (folder / FROZEN / "cfg.json").exists():
        yield FROZEN, load_sae(folder / FROZEN)
    yield SHUFFLED_DECODER, shuffled_decoder(sae, k, study.config.seed)
    x_ND = fit_vectors(study, site)
    mean_D = torch.from_numpy(x_ND.mean(0))
    origin = Path(site_path(site))
    yield NEURONS, both_poles(origin, torch.eye(x_ND.shape[1]), mean_D, k)
    yield PCA, both_poles(origin, principal_directions(x_ND), mean_D, k)


def fit_vectors(study: Study, site: Site) -> np.ndarray:
    """float32 [N, D], at most ``FIT_VECTORS``, drawn evenly from the site's ``train`` split."""
    store, (start, stop) = store_of(study), split_range(study, "train")
    height, width, channels = store.shape(site)
    each = max(1, FIT_VECTORS // (stop - start))
    rng = np.random.default_rng(study.config.seed)
    found = []
    for first in range(start, stop, store.shard_size):
        block = store.read(site, first, min(first + store.shard_size, stop))
        flat = block.reshape(len(block), height * width, channels)
        rows = np.stack([rng.permutation(height * width)[:each] for _ in range(len(flat))])
        found.append(np.take_along_axis(flat, rows[..., None], 1).reshape(-1, channels))
    return np.concatenate(found).astype(np.float32)


def shuffled_decoder(sae: SAE, k: int, seed: int) -> SAE:
    """Directions of the trained norms and entries, without their structure, read by their own transposes."""
    rng = np.random.default_rng(seed)
    rows_MD = sae.concept_vectors().cpu().numpy()
    shuffled_MD = torch.from_numpy(rng.permuted(rows_MD, axis=1))
    return _tied(Path(SHUFFLED_DECODER), shuffled_MD, sae.b_dec, k)


def principal_directions(x_ND: np.ndarray) -> Tensor:
    """float32 [D, D]: unit rows, in order of falling variance of x [N, D]."""
    centred = x_ND - x_ND.mean(0)
    _, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    return torch.from_numpy(np.ascontiguousarray(vectors[:, ::-1].T, np.float32))


def both_poles(origin: Path, directions_MD: Tensor, mean_D: Tensor, k: int) -> SAE:
    """The k strongest of signed directions: latent m is the positive pole of row m, M + m its negative one."""
    return _tied(origin, torch.cat([directions_MD, -directions_MD]), mean_D, min(k, len(directions_MD)))


def _tied(origin: Path, rows_MD: Tensor, bias_D: Tensor, k: int) -> SAE:
    weights = {"W_enc": rows_MD.T, "b_enc": torch.zeros(len(rows_MD)), "W_dec": rows_MD, "b_dec": bias_D}
    return build(origin, weights, k)
