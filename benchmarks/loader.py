"""Reading the training vectors of a site: what the codec, the gather and the buffer each save, and the memory it takes.

    python -m benchmarks.loader [--prompts 4096] [--rounds 3] [--folder DIR]

A site of the paper's size, 16 x 16 positions of 1280 channels, in stores with and without compression; batches of 4096,
from the system's cache. Each way reads one epoch in a process of its own, in turn, on one core; medians of the rounds.
``numpy`` is the loader as it was first written: whole shards joined by ``concatenate``, rows taken and cast by numpy,
``isfinite`` on every value. The others are ``storage.vectors``, which is checked to give the same batches.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from storage.activations import ActivationStore
from storage.store_documents import Compression
from storage.vectors import VectorSource

SITE, SHAPE, SHARD, BATCH = ("mid", 0.0, "cond"), (16, 16, 1280), 32, 4096
# way -> (loader, compression, prompts or gigabytes held)
WAYS: dict[str, tuple[str, Compression, float]] = {
    "numpy, zstd, 2048 prompts (before)": ("numpy", "zstd", 2048),
    "numpy, no compression": ("numpy", "none", 2048),
    "torch, zstd": ("prompts", "zstd", 2048),
    "torch, no compression": ("prompts", "none", 2048),
    "torch, no compression, 4.2 GB": ("gigabytes", "none", 4.2),
    "torch, no compression, 1.2 GB (now)": ("gigabytes", "none", 1.2),
    "torch, no compression, 0.3 GB": ("gigabytes", "none", 0.3),
}


def main() -> None:
    """Command line of the module; ``--way`` is the child's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.folder, *WAYS[options.way])))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for compression in get_args(Compression):
            fill(Path(folder) / compression, compression, options.prompts)
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                found[way].append(child(way, folder))
    report(found)


def fill(root: Path, compression: Compression, prompts: int) -> None:
    """A store of values drawn like activations: normal, a scale for each channel."""
    store = ActivationStore.create(root, {SITE: SHAPE}, prompts, SHARD, compression)
    rng = np.random.default_rng(0)
    scale = rng.lognormal(size=SHAPE[-1]).astype(np.float32)
    for shard in range(store.n_shards):
        start, stop = store.shard_range(shard)
        maps = rng.standard_normal((stop - start, *SHAPE), np.float32) * scale
        store.write_shard(SITE, shard, maps.astype(np.float16))


def child(way: str, folder: str) -> dict[str, Any]:
    """Measure one way in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.loader", "--folder", folder, "--way", way]
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=threads, check=True, capture_output=True).stdout)


def measure(folder: Path, loader: str, compression: Compression, size: float) -> dict[str, Any]:
    """CPU and wall seconds of an epoch, vectors read, peak memory, and a digest of the first batches."""
    torch.set_num_threads(1)
    store = ActivationStore.open(folder / compression)
    whole, n_prompts = (store, SITE), store.n_prompts
    source: VectorSource = (
        Before(*whole, 0, n_prompts, int(size))
        if loader == "numpy"
        else VectorSource(*whole, [(0, n_prompts)], int(size))
    )
    if loader == "gigabytes":
        source = VectorSource(*whole, [(0, n_prompts)], buffer_bytes=int(size * 1e9))
    before, vectors, digest = _peak(), 0, hashlib.sha256()
    cpu, wall = time.process_time(), time.perf_counter()
    for number, batch in enumerate(source.batches(BATCH, seed=0, epoch=0)):
        vectors += len(batch)
        if number < 3:
            digest.update(batch.tobytes())
    times = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return {**times, "vectors": vectors, "memory": _peak() - before, "digest": digest.hexdigest()}


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Before(VectorSource):
    """The batches as they were first made."""

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """One epoch; the data here fill whole batches, so nothing is carried from one buffer to the next."""
        for blocks, order in self._buffers(seed, epoch):
            buffer = np.concatenate([self._checked(*block) for block in blocks])
            for at in range(0, len(order) - batch_size + 1, batch_size):
                yield buffer[order[at : at + batch_size]].astype(np.float32)

    def _checked(self, first: int, last: int) -> np.ndarray:
        maps = self.store.read(self.site, first, last).reshape(last - first, -1)
        assert np.isfinite(maps).all(1).all()
        return maps.reshape(-1, self.d)


def report(found: dict[str, list[dict[str, Any]]]) -> None:
    """A line a way; ratios to the first, of CPU seconds, which other work on the machine does not lengthen as much."""
    same = {tuple(r["digest"] for r in rounds) for way, rounds in found.items() if WAYS[way][0] != "gigabytes"}
    assert len(same) == 1, "the ways do not give the same batches"
    first = None
    print(f"{'':<38} {'us/vector':>10} {'(wall)':>8} {'ratio':>6} {'GB held':>8}")
    for way, rounds in found.items():
        cpu, wall, memory = (statistics.median(r[name] for r in rounds) for name in ("cpu", "wall", "memory"))
        per_vector, elapsed = (1e6 * seconds / rounds[0]["vectors"] for seconds in (cpu, wall))
        first = first or per_vector
        print(f"{way:<38} {per_vector:>10.2f} {elapsed:>8.2f} {first / per_vector:>6.2f} {memory / 1e9:>8.2f}")


if __name__ == "__main__":
    main()
