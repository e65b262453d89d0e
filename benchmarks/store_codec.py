"""What the activation store costs over plain files: writing and reading shards, by how they are compressed.

    python -m benchmarks.store_codec [--rounds 21] [--study runs/mini] [--folder DIR]

A shard of the paper's size ([32, 16, 16, 1280] float16, 21 MB) is written and read as the pipeline does it, in turn
with the same bytes as a plain file: written beside its place, flushed, renamed; read whole from the system's cache,
which is the harder comparison. What is counted are CPU seconds of the process, the least of the rounds: waiting for the
disk is the same for all. A ratio is the share of a plain file's speed that is left. Values are drawn like activations:
normal, a scale for each channel; with ``--study`` the bytes that zstd saves are also counted on the shards of a study.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np

from storage.activations import ActivationStore
from storage.atomic import write_atomic
from storage.store_documents import Compression

SITE, SHAPE, PROMPTS = ("mid", 0.0, "cond"), (16, 16, 1280), 32


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--study", type=Path)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; the system's scratch folder by default")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(PROMPTS, *SHAPE)) * rng.lognormal(size=SHAPE[-1])).astype(np.float16)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        stores = {name: made(Path(folder) / name) for name in get_args(Compression)}
        times = compare(Path(folder) / "plain", stores, data, options.rounds)
        print(f"{'':<6} {'write GB/s':>12} {'of plain':>9} {'read GB/s':>12} {'of plain':>9} {'bytes':>7}")
        for name, taken in times.items():
            size = stores[name].shard_file(SITE, 0).stat().st_size if name in stores else data.nbytes
            pairs = zip(taken, times["plain"], strict=True)
            shown = [f"{data.nbytes / own / 1e9:>12.2f} {plain / own:>9.2f}" for own, plain in pairs]
            print(f"{name:<6} {' '.join(shown)} {size / data.nbytes:>7.3f}")
    if options.study:
        print(f"zstd leaves {saved(options.study):.3f} of the bytes of {options.study}")


def made(root: Path) -> ActivationStore:
    """A store of one site and one shard, compressed as the folder is named."""
    return ActivationStore.create(root, {SITE: SHAPE}, PROMPTS, PROMPTS, root.name)  # type: ignore[arg-type]


def compare(plain: Path, stores: dict[str, ActivationStore], data: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Way -> least seconds of writing and of reading, plain and by store; what is read is checked."""
    raw = memoryview(data.tobytes())
    jobs: dict[str, tuple[Callable[[], object], Callable[[], np.ndarray]]] = {
        "plain": (partial(write_atomic, plain, raw), lambda: np.fromfile(plain, np.float16).reshape(data.shape))
    }
    for name, store in stores.items():
        jobs[name] = partial(store.write_shard, SITE, 0, data), partial(store.read, SITE, 0, PROMPTS)
    times: dict[str, list[list[float]]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (write, read) in jobs.items():
            began = time.process_time()
            write()
            written = time.process_time()
            found = read()
            times[name].append([written - began, time.process_time() - written])
            assert np.array_equal(found, data), name
    return {name: [min(of) for of in zip(*taken, strict=True)] for name, taken in times.items()}


def saved(study: Path) -> float:
    """The share of a study's activation bytes that zstd leaves, over one shard of every site."""
    store, before, after = ActivationStore.open(study), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        size = store.shard_range(0)[1]
        packed = ActivationStore.create(folder, store.facts.shapes, size, size, "zstd")
        for site in store.sites:
            data = store.read(site, 0, size)
            packed.write_shard(site, 0, data)
            before, after = before + data.nbytes, after + packed.shard_file(site, 0).stat().st_size
    return after / before


if __name__ == "__main__":
    main()
