"""Codes of a few vectors by NumPy alone, for whoever asks a study: PyTorch would take 190 MB and a second to import.

Shape suffixes as in ``sae/model.py``: N vectors, D channels, M latents, K slots of a code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sae.errors import SAEError
from sae.folder import NUMPY, k_of, read_arrays, read_folder


@dataclass(frozen=True)
class Encoder:
    """What of an SAE encodes, all float32: ``W_enc`` [D, M], ``b_enc`` [M], ``b_dec`` [D].

    ``k`` latents are on, the largest; or, with a ``threshold`` [M], all above it (JumpReLU).
    """

    W_enc: np.ndarray
    b_enc: np.ndarray
    b_dec: np.ndarray
    k: int
    threshold: np.ndarray | None = None

    @property
    def n(self) -> int:
        """Latents, M."""
        return int(self.W_enc.shape[1])

    def encode(self, x_ND: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes as ``sae.model.SAE.encode`` has them, but for rounding: values float32 and latents int64, [N, K]."""
        pre_NM = (x_ND.astype(np.float32) - self.b_dec) @ self.W_enc + self.b_enc
        slots = self.k
        if self.threshold is not None:
            pre_NM = np.where(pre_NM > np.maximum(self.threshold, 0), pre_NM, np.float32(0))
            slots = max(1, int((pre_NM > 0).sum(1).max(initial=0)))
        latents_NK = np.argpartition(pre_NM, self.n - slots, axis=1)[:, self.n - slots :]
        return np.maximum(np.take_along_axis(pre_NM, latents_NK, 1), 0), latents_NK


def load_encoder(folder: str | Path, digests: Mapping[str, str] | None = None) -> Encoder:
    """What encodes of an SAE that ``sae.io.load_sae`` reads, in half of its memory. Raises as that does."""
    folder = Path(folder)
    config, weights = read_folder(folder, digests, NUMPY, decodes=False)
    if odd := [name for name, array in weights.items() if not np.isfinite(array.sum())]:  # nor is a sum with one
        raise SAEError(f"{folder}: {odd[0]} holds a value that is not finite: export it again")
    k = k_of(folder, config)
    if k > weights["W_enc"].shape[1]:
        raise SAEError(f"{folder}: k is {k} but the SAE has only {weights['W_enc'].shape[1]} latents: export it again")
    own = {name: array.copy() for name, array in weights.items() if name != "W_dec"}  # no longer of the file
    return Encoder(own["W_enc"], own["b_enc"], own["b_dec"], k, own.get("threshold"))


def load_vectors(folder: str | Path, digests: Mapping[str, str]) -> np.ndarray:
    """Concept vectors [M, D], float32, of an SAE that ``sae.io.load_sae`` reads, and nothing else of it.

    Raises ``SAEError`` naming the file when it is missing, damaged or not the one of the digest.
    """
    return _decoder(folder, digests).copy()  # no longer of the file


def products_with(folder: str | Path, digests: Mapping[str, str], cid: int) -> np.ndarray:
    """Of each concept's vector with that of one, [M], float32. Raises as ``load_vectors`` does."""
    vectors_MD = _decoder(folder, digests)
    return np.einsum("md,d->m", vectors_MD, vectors_MD[cid])  # without a second thread, which then spins for a while


def _decoder(folder: str | Path, digests: Mapping[str, str]) -> np.ndarray:
    """``W_dec``, mapped."""
    vectors_MD: np.ndarray = read_arrays(Path(folder), digests, NUMPY, ("W_dec",))["W_dec"]
    return vectors_MD
