"""Codes of a split, image by image: computed once for an encoder, spooled to disk, read as often as needed.

Labelling passes over the codes four times (ranges, quantiles, examples, overlaps). Reading and encoding the activations
each time would cost far more than a file of codes, at the paper's sizes a sixteenth of the activations.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from sae.model import SAE
from tasks.errors import StudyError
from tasks.study import Site, Study, site_path, split_range, store_of
from tasks.train import training_device


class Codes(NamedTuple):
    """Codes of consecutive images: ``ids`` [n], values float32 and latents int64 [n, cells, slots]."""

    ids: list[int]
    values: np.ndarray
    latents: np.ndarray


def encode_maps(sae: SAE, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of residual updates [n, h, w, C]: values float32 and latents int64, [n, h*w, slots].

    Encoded where the SAE is; what comes back is on the CPU.
    """
    n, height, width, channels = maps.shape
    with torch.no_grad():
        x = torch.from_numpy(maps).to(sae.b_dec.device).float().reshape(-1, channels)
        values, latents = sae.encode(x)
    shape = (n, height * width, values.shape[-1])
    return values.reshape(shape).cpu().numpy(), latents.reshape(shape).cpu().numpy()


def image_codes(study: Study, site: Site, sae: SAE, split: str) -> Iterator[Codes]:
    """The codes of a split, a shard's worth at a time, straight from the activation store.

    The SAE is moved to the device that trains: the product of vectors and encoder is nearly all of the work.
    """
    store = store_of(study)
    sae = sae.to(training_device(study, site))
    start, stop = split_range(study, split)
    for first in range(start, stop, store.shard_size):
        last = min(first + store.shard_size, stop)
        values, latents = encode_maps(sae, store.read(site, first, last))
        if not np.isfinite(values).all():
            raise StudyError(
                f"{study.root}: codes of prompts {first} to {last - 1} at {site_path(site)} are not finite: run "
                "`concepts verify` on this folder, then collect that shard and train that site again"
            )
        yield Codes(list(range(first, last)), values, latents)


class SpooledCodes:
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


@contextmanager
def spooled(study: Study, site: Site, sae: SAE, split: str) -> Iterator[SpooledCodes]:
    """Encode a split once; the files are gone when the block ends.

    They go where ``tempfile`` puts them: set TMPDIR for a disk with room, 1.6 GB for 40,000 images of 256 cells, k 20.
    """
    with tempfile.TemporaryDirectory(prefix="codes-") as folder:
        codes = SpooledCodes(Path(folder), sae.n)
        for part in image_codes(study, site, sae, split):
            codes.append(part)
        yield codes
