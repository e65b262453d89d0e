"""Codes of a split, image by image: written to disk once, read as often as needed.

Labelling passes over the codes four times (ranges, quantiles, examples, overlaps). Reading and encoding the activations
each time would cost far more than a file of codes, at the paper's sizes a sixteenth of the activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Codes(NamedTuple):
    """Codes of consecutive images: ``ids`` [n], values float32 and latents int64 [n, cells, slots]."""

    ids: list[int]
    values: np.ndarray
    latents: np.ndarray


class CodesOnDisk:
    """The codes of a split in a temporary folder. Iterating yields them in order, one shard in memory at a time."""

    def __init__(self, folder: Path, n_concepts: int) -> None:
        self.n_concepts, self._folder = n_concepts, folder
        self._ids: list[list[int]] = []

    def append(self, codes: Codes) -> None:
        """Write one more run of images."""
        np.save(self._file("values"), codes.values)
        np.save(self._file("latents"), codes.latents.astype(np.int32))
        self._ids.append(codes.ids)

    def __iter__(self) -> Iterator[Codes]:
        for number, ids in enumerate(self._ids):
            values, latents = (np.load(self._file(name, number), allow_pickle=False) for name in ("values", "latents"))
            yield Codes(ids, values, latents.astype(np.int64))

    def _file(self, name: str, number: int | None = None) -> Path:
        return self._folder / f"{len(self._ids) if number is None else number:06d}-{name}.npy"
