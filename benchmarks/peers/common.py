"""What the benchmark scripts of the peers share: options, batches, the clock, held-out measures, the result file.

Only numpy and torch are needed, so that every peer's environment can import it. Some scripts of this folder bear the
name of the package they use (``sparsify.py`` uses ``sparsify``), so importing this module takes the folder off the
search path: import it first.

Shapes: N vectors, D channels, M latents.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE]

AUX_ALPHA = 1 / 32
DEAD_AFTER_VECTORS = 10_000_000

Reconstruct = Callable[[Tensor], tuple[Tensor, Tensor]]


def option_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that every peer takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="float16 or float32 [N, D], centred and scaled")
    parser.add_argument("--heldout", type=Path, required=True, help="the same, for the measures")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the result")
    parser.add_argument("--n", type=int, default=5120, help="latents")
    parser.add_argument("--k", type=int, default=20, help="latents that may fire for a vector")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts; they train too")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--autocast", action="store_true", help="the package's own mixed precision, if it has one")
    parser.add_argument("--dead-after", type=int, default=DEAD_AFTER_VECTORS, help="vectors until a latent is dead")
    parser.add_argument("--preload", action="store_true", help="put all batches on the device before the clock starts")
    return parser


def prepare(options: argparse.Namespace) -> None:
    """Set the threads and the seed; call it before the model is built."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)


@dataclass
class Batches:
    """Batch ``i`` is the rows from ``i * size % (N - size)`` on, as float32 on the device."""

    vectors_ND: np.ndarray
    size: int
    device: str

    def __post_init__(self) -> None:
        self.loaded: dict[int, Tensor] = {}
        if len(self.vectors_ND) < self.size:
            raise SystemExit(f"{len(self.vectors_ND)} vectors are less than a batch of {self.size}")

    def __getitem__(self, index: int) -> Tensor:
        if index in self.loaded:
            return self.loaded[index]
        start = index * self.size % max(len(self.vectors_ND) - self.size, 1)
        rows_ND = np.asarray(self.vectors_ND[start : start + self.size], dtype=np.float32)
        return torch.tensor(rows_ND, device=self.device)  # a copy: the file is mapped read-only

    def between(self, first: int, end: int) -> Iterator[Tensor]:
        """Batches ``first`` to ``end - 1``."""
        return (self[index] for index in range(first, end))

    def preload(self, count: int) -> None:
        """Keep the first ``count`` batches on the device."""
        self.loaded = {index: self[index] for index in range(count)}


def training_batches(options: argparse.Namespace) -> Batches:
    """The batches of the training file, which stays mapped unless ``--preload`` is given."""
    batches = Batches(np.load(options.train, mmap_mode="r"), options.batch, options.device)
    if options.preload:
        batches.preload(options.warmup + options.steps)
    return batches


def train_timed(train: Callable[[Iterator[Tensor]], None], batches: Batches, options: argparse.Namespace) -> float:
    """Train on the warm-up batches, then on the timed ones; returns the seconds of the latter."""
    train(batches.between(0, options.warmup))
    synchronize(options.device)
    start = time.perf_counter()
    train(batches.between(options.warmup, options.warmup + options.steps))
    synchronize(options.device)
    return time.perf_counter() - start


def synchronize(device: str) -> None:
    """Wait for a GPU's queued work, so that the clock sees it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


@torch.no_grad()
def heldout_measures(reconstruct: Reconstruct, options: argparse.Namespace) -> dict[str, float]:
    """Explained variance, dead fraction and L0 on the held-out vectors.

    ``reconstruct`` gives dense codes [N, M] and reconstructions [N, D] of a batch. All sums are global, in float64.
    """
    vectors_ND = np.load(options.heldout, mmap_mode="r")
    mean_D = torch.tensor(np.mean(vectors_ND, axis=0, dtype=np.float64), device=options.device)
    fired_M = torch.zeros(options.n, dtype=torch.bool, device=options.device)
    error = spread = active = 0.0
    for start in range(0, len(vectors_ND), options.batch):
        rows_ND = np.asarray(vectors_ND[start : start + options.batch], dtype=np.float32)
        x_ND = torch.tensor(rows_ND, device=options.device)
        codes_NM, reconstruction_ND = reconstruct(x_ND)
        error += float((x_ND.double() - reconstruction_ND.double()).square().sum())
        spread += float((x_ND.double() - mean_D).square().sum())
        active += int((codes_NM != 0).sum())
        fired_M |= (codes_NM != 0).any(dim=0)
    return {
        "explained_variance": 1 - error / spread,
        "dead_fraction": 1 - int(fired_M.sum()) / options.n,
        "l0": active / len(vectors_ND),
    }


def write_result(
    options: argparse.Namespace,
    package: str,
    seconds: float,
    measures: dict[str, float],
    was_set: dict[str, Any],
    fixed: dict[str, Any],
) -> None:
    """Write the result file: speed, held-out measures, the settings we chose and those the package fixes."""
    vectors = options.steps * options.batch
    result = {
        "peer": package,
        "version": version(package),
        "torch": torch.__version__,
        "device": options.device,
        "threads": options.threads,
        "n": options.n,
        "k": options.k,
        "batch": options.batch,
        "steps": options.steps,
        "warmup": options.warmup,
        "seed": options.seed,
        "seconds": seconds,
        "vectors_per_s": vectors / seconds,
        "ms_per_step": 1000 * seconds / options.steps,
        **measures,
        "settings": {"set": {"lr": options.lr, "preload": options.preload, **was_set}, "fixed": fixed},
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "settings"}))
