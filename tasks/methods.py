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
from study.at import Dictionary
from study.errors import StudyError
from study.saes import HELD, SHARED, TRAINED, UNTRAINED
from tasks.fits import fit_vectors

OURS = (TRAINED, SHARED, *HELD, UNTRAINED)
METHODS = (*OURS, SHUFFLED_DECODER, NEURONS, PCA, ICA, NMF, PROBE)


def dictionaries(here: Dictionary, given: dict[str, tuple[str, str]]) -> Iterator[tuple[str, Encode]]:
    """Every method of a site by name: our SAEs and their controls, the classical ones, those the user gave.

    ``given`` maps a name to (site path, folder). Raises ``StudyError`` for one that does not fit the site.
    """
    for kind in OURS:
        if here.has(kind):
            yield kind, sae_features(here.sae(kind))
    seed = here.study.config.seed
    yield SHUFFLED_DECODER, sae_features(shuffled_decoder(here.sae(), here.k, seed).to(here.device))
    for name, (where, path) in given.items():
        if where == here.site.path:
            yield name, sae_features(users_sae(name, Path(path), here.channels).to(here.device))
    yield from classical(fit_vectors(here), seed)


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
    """An SAE's codes, dense; computed where the SAE is."""

    def encode(x_ND: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            values_NK, latents_NK = sae.encode(torch.from_numpy(x_ND).to(sae.b_dec.device))
            dense_NM = torch.zeros(len(x_ND), sae.n, device=values_NK.device).scatter_(1, latents_NK, values_NK)
            return dense_NM.cpu().numpy()

    return encode
