"""The dictionaries that ``concepts bench`` compares, each as a function from vectors to non-negative features."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from concepts.baselines import ICA, NEURONS, NMF, PCA, PROBE, Encode, classical
from sae.baselines import SHUFFLED_DECODER, shuffled_decoder
from sae.errors import SAEError
from sae.io import load_sae
from sae.model import SAE
from study.errors import StudyError
from study.paths import Site, site_path
from study.saes import FROZEN, SHARED, TRAINED, UNTRAINED, has_sae, sae_of
from study.store import store_of
from study.study import Study
from tasks.controls import fit_vectors

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
    yield from classical(x_ND, study.config.seed)


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
