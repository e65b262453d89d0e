"""The dictionaries that ``concepts bench`` compares, each as a function from vectors to non-negative features.

Methods without a sign of their own (neurons, principal and independent components) enter with both poles, so that
either may be the concept: feature c < C is the positive pole, C + c the negative one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from sae.baselines import NEURONS, PCA, SHUFFLED_DECODER, shuffled_decoder
from sae.errors import SAEError
from sae.io import load_sae
from sae.model import SAE
from tasks.controls import fit_vectors
from tasks.errors import StudyError
from tasks.saes import FROZEN, SHARED, TRAINED, UNTRAINED, has_sae, sae_of
from tasks.study import Site, Study, site_path, store_of

Encode = Callable[[np.ndarray], np.ndarray]  # float32 [N, D] -> float32 [N, C], >= 0
ICA, NMF, PROBE = "ica", "nmf", "probe"
METHODS = (TRAINED, SHARED, FROZEN, UNTRAINED, SHUFFLED_DECODER, NEURONS, PCA, ICA, NMF, PROBE)


def dictionaries(study: Study, site: Site, k: int, given: dict[str, tuple[str, str]]) -> Iterator[tuple[str, Encode]]:
    """Every method of a site by name: our SAEs and their controls, the classical ones, those the user gave.

    ``given`` maps a name to (site path, folder). Raises ``StudyError`` for one that does not fit the site.
    """
    for kind in (TRAINED, SHARED, FROZEN, UNTRAINED):
        if has_sae(study, site, k, kind):
            yield kind, sae_features(sae_of(study, site, k, kind))
    yield SHUFFLED_DECODER, sae_features(shuffled_decoder(sae_of(study, site, k), k, study.config.seed))
    channels = store_of(study).shape(site)[-1]
    for name, (where, path) in given.items():
        if where == site_path(site):
            yield name, sae_features(users_sae(name, Path(path), channels))
    x_ND = fit_vectors(study, site)
    yield NEURONS, both_poles(_centred(x_ND.mean(0)))
    yield from _decompositions(x_ND, study.config.seed)


def users_sae(name: str, path: Path, channels: int) -> SAE:
    """A dictionary that the user gave. Raises ``StudyError`` if it is damaged or of another width than its site."""
    try:
        sae = load_sae(path)
    except SAEError as error:
        raise StudyError(f"--dictionary {name}: {error}") from error
    if sae.d != channels:
        raise StudyError(
            f"--dictionary {name}: {path} encodes {sae.d} channels, the site has {channels}: name its own site"
        )
    return sae


def sae_features(sae: SAE) -> Encode:
    """An SAE's codes, dense."""

    def encode(x_ND: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            values_NK, latents_NK = sae.encode(torch.from_numpy(x_ND))
            return torch.zeros(len(x_ND), sae.n).scatter_(1, latents_NK, values_NK).numpy()

    return encode


def both_poles(transform: Encode) -> Encode:
    """Features of a signed transform: what is above zero, then what is below."""

    def encode(x_ND: np.ndarray) -> np.ndarray:
        z_NC = transform(x_ND).astype(np.float32)
        return np.concatenate([np.maximum(z_NC, 0), np.maximum(-z_NC, 0)], 1)

    return encode


def _centred(mean_D: np.ndarray) -> Encode:
    return lambda x_ND: x_ND - mean_D


def _decompositions(x_ND: np.ndarray, seed: int) -> Iterator[tuple[str, Encode]]:
    try:
        from sklearn import decomposition
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise StudyError(
            "concepts bench compares with PCA, ICA and NMF: `pip install 'concept-atlas[bench]'`"
        ) from error
    d = x_ND.shape[1]
    yield PCA, both_poles(decomposition.PCA(d, random_state=seed).fit(x_ND).transform)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a direction that still turns a little is good enough here
        ica = decomposition.FastICA(d, whiten="unit-variance", random_state=seed, max_iter=100).fit(x_ND)
        yield ICA, both_poles(ica.transform)
        split = both_poles(lambda v: v)
        nmf = decomposition.MiniBatchNMF(d, random_state=seed, max_iter=20, batch_size=2048, init="nndsvda")
        nmf.fit(split(x_ND))
        yield NMF, _quietly(lambda v: nmf.transform(split(v)).astype(np.float32))


def _quietly(encode: Encode) -> Encode:
    """Without the warning that twenty rounds of a batch have not converged: further ones change little."""

    def quiet(x_ND: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return encode(x_ND)

    return quiet


def fit_probe(x_ND: np.ndarray, truth_NL: np.ndarray) -> Encode:
    """The supervised ceiling: one ridge regression a label, on vectors whose labels are given to it."""
    mean, scale = x_ND.mean(0), x_ND.std(0) + 1e-6
    z = np.concatenate([(x_ND - mean) / scale, np.ones((len(x_ND), 1), np.float32)], 1)
    gram = z.T @ z + 1e-3 * len(z) * np.eye(z.shape[1], dtype=np.float32)
    weights = np.linalg.solve(gram, z.T @ truth_NL.astype(np.float32)).astype(np.float32)
    floor = (z @ weights).min(0)

    def encode(v_ND: np.ndarray) -> np.ndarray:
        return np.maximum(((v_ND - mean) / scale) @ weights[:-1] + weights[-1] - floor, 0).astype(np.float32)

    return encode
