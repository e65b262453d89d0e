"""Codes of a study's splits: encoded from its activations, and spooled where they are read more than once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from concepts.codes import Codes, SpooledCodes
from sae.model import SAE
from study.devices import training_device
from study.errors import StudyError
from study.paths import Site, site_path, split_range
from study.store import store_of
from study.study import Study


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
