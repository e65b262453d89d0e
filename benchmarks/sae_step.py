"""What one training step costs beside the least it could: the encoder product alone. Stacks, memory and the loader too.

    python -m benchmarks.sae_step [--rounds 5] [--d 1280 --n 5120 --k 20 --batch 4096]

Every ratio compares two ways of one job, timed in turn in one process; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch

from sae.members import Member, Stack
from sae.memory import freed_memory_kept
from sae.settings import SAESettings
from sae.source import Standardised, measure
from sae.step import TrainState, train_step
from sae.train import train
from storage.activations import ActivationStore
from storage.vectors import VectorSource


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("d", 1280), ("n", 5120), ("k", 20), ("batch", 4096), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--only", choices=("kept", "returned"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(only(options))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {vars(options)}")
    with freed_memory_kept():
        for precision in ("float32", "bfloat16"):
            step_beside_product(options, precision)
        for precision in ("float32", "bfloat16"):
            four_beside_one(options, precision)
    kept_beside_returned(options)
    with tempfile.TemporaryDirectory() as folder:
        loader(options, Path(folder))


def stepper(options: argparse.Namespace, precision: str, stacked: int) -> Callable[[], object]:
    """A function that makes one training step of so many SAEs on one batch."""
    settings = SAESettings(k=(options.k,), batch_size=options.batch, precision=precision)
    state = TrainState(Stack(options.d, [Member(options.k, options.n, seed) for seed in range(stacked)]), settings)
    x_ND = torch.randn(options.batch, options.d, generator=torch.Generator().manual_seed(0))
    return lambda: train_step(state, x_ND, settings, 1e-4)


def step_beside_product(options: argparse.Namespace, precision: str) -> None:
    """The whole step over x W alone, in the same precision."""
    dtype = getattr(torch, precision)
    x_ND, W_MD = (torch.randn(rows, options.d).to(dtype) for rows in (options.batch, options.n))
    step, product = in_turn([stepper(options, precision, 1), lambda: x_ND @ W_MD.T], options.rounds)
    print(f"{precision}: step {step:.0f} ms, encoder product alone {product:.0f} ms: {step / product:.2f} times")


def four_beside_one(options: argparse.Namespace, precision: str) -> None:
    """Four SAEs trained as a stack over one."""
    four, one = in_turn([stepper(options, precision, 4), stepper(options, precision, 1)], options.rounds)
    print(f"{precision}: four SAEs stacked {four:.0f} ms, one {one:.0f} ms: {four / one:.2f} times")


def kept_beside_returned(options: argparse.Namespace) -> None:
    """The step with freed memory returned to the system, as is the default, over the step with it kept.

    Each in processes of its own, in turn: what a process has once done to its allocator it does not forget.
    """
    times: dict[str, list[float]] = {"returned": [], "kept": []}
    for _ in range(options.rounds):
        for way, kept in times.items():
            flags = [f"--{name}={getattr(options, name)}" for name in ("d", "n", "k", "batch")]
            command = [sys.executable, "-m", "benchmarks.sae_step", *flags, "--only", way]
            kept.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    returned, kept_ms = (statistics.median(times[way]) for way in ("returned", "kept"))
    print(f"memory returned {returned:.0f} ms, kept {kept_ms:.0f} ms: {returned / kept_ms:.2f} times")


def only(options: argparse.Namespace) -> float:
    """Median milliseconds of a bfloat16 step in this process, with freed memory kept or returned."""
    with freed_memory_kept() if options.only == "kept" else nullcontext():
        return in_turn([stepper(options, "bfloat16", 1)], 7)[0]


def loader(options: argparse.Namespace, folder: Path) -> None:
    """A training run from a Zarr store on disk: the share of its time that steps waited for vectors."""
    prompts, side = 4 * options.batch // 64, 8
    site = ("mid", 0.0, "cond")
    store = ActivationStore.create(folder, {site: (side, side, options.d)}, prompts, 32)
    rng = np.random.default_rng(0)
    for shard in range(store.n_shards):
        start, stop = store.shard_range(shard)
        store.write_shard(site, shard, rng.normal(size=(stop - start, side, side, options.d)).astype(np.float16))
    source = VectorSource(store, site, [(0, prompts)], buffer_prompts=64)
    settings = SAESettings(k=(options.k,), batch_size=options.batch, precision="bfloat16", epochs=3)
    data = Standardised(source, measure(source))
    done = train(data, settings, [Member(options.k, options.n, 0)], seed=0)
    print(
        f"from the store: {done.steps} steps, {done.n_vectors / done.seconds:,.0f} vectors/s, "
        f"waiting for the loader {100 * done.waited:.1f} % of the time"
    )


def in_turn(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median milliseconds of each job, timed in turn after one run of each that does not count."""
    times: list[list[float]] = [[] for _ in jobs]
    for job in jobs:
        job()
    for _ in range(rounds):
        for job, kept in zip(jobs, times, strict=True):
            start = time.perf_counter()
            job()
            kept.append(1000 * (time.perf_counter() - start))
    return [statistics.median(kept) for kept in times]


if __name__ == "__main__":
    main()
