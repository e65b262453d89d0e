r"""Vectors at the price of one U-Net call: drawn scenes noised to a time, against what sampling meets there.

    concepts collect configs/mini.yaml --root runs/second --set seed=1 --set prompts.splits.train=1024 \
        --set prompts.splits.layout=8 --set prompts.splits.style=8
    python -m miniature.truth --scenes 600 --first 60000000 --out runs/second.parquet
    python -m miniature.truth --scenes 1024 --first 70000000 --out runs/drawn.parquet
    python -m benchmarks.noised_vectors configs/mini.yaml --root runs/second --truth runs/second.parquet \
        --drawn runs/drawn.parquet

First how far the two are apart: the distance of their means, in RMS deviations of the sampled ones, and how often a
linear classifier (chosen on half of the images, counted on the others) tells a vector of one from one of the other,
where .5 is chance. Then dictionaries trained on each and on both, with the figures of ``leaving_the_start``: explained
variance and dead latents are of sampled vectors held out, whatever was trained on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.leaving_the_start import COLUMNS, PROMPTS, SECOND, Trial
from storage.site import Site
from study.config import load_config
from study.opening import open_or_create
from tasks.bench import record_truth
from tasks.truth import read_truth


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--drawn", type=Path, required=True)
    parser.add_argument("--sites", nargs="+", default=["mid/0.50/cond", "up/0.00/cond", "down/1.00/cond"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = open_or_create(options.root, load_config(options.config, SECOND))
    drawn = read_truth(options.drawn)
    for path in options.sites:
        block, t, conditioning = path.split("/")
        site = Site(block, float(t), conditioning)
        trial = Trial.at(study, site, options.truth)
        noised_IPD = record_truth(study, drawn, site.t, conditioning)[0][site]
        noised_IPD = noised_IPD.reshape(len(noised_IPD), -1, noised_IPD.shape[-1])
        sampled_IPD = np.concatenate(list(trial.source(len(noised_IPD)).chunks())).astype(np.float16)
        sampled_IPD = sampled_IPD.reshape(noised_IPD.shape)
        print(f"\n{path}: means {shift(sampled_IPD, noised_IPD):.2f} apart, ", end="")
        print(f"told apart in {told_apart(sampled_IPD, noised_IPD):.3f}\n\n| {' | '.join(COLUMNS)} |")
        print(f"|{' --- |' * len(COLUMNS)}")
        few = sampled_IPD[:PROMPTS]
        for name, maps in {
            f"{PROMPTS} sampled": few,
            f"{PROMPTS} noised": noised_IPD[:PROMPTS],
            f"{len(noised_IPD)} noised": noised_IPD,
            f"{PROMPTS} sampled and {len(noised_IPD) - PROMPTS} noised": np.concatenate([few, noised_IPD[PROMPTS:]]),
            f"{len(sampled_IPD)} sampled": sampled_IPD,
        }.items():
            print(trial.line(name, {}, Held(maps.reshape(-1, maps.shape[-1]))), flush=True)


@dataclass(frozen=True)
class Held:
    """A source of vectors in memory, float16 [N, D]."""

    x_ND: np.ndarray

    @property
    def n_vectors(self) -> int:
        """How many there are."""
        return len(self.x_ND)

    @property
    def d(self) -> int:
        """Their width."""
        return self.x_ND.shape[1]

    def chunks(self) -> Iterator[np.ndarray]:
        """All once, float32."""
        for first in range(0, len(self.x_ND), 65_536):
            yield self.x_ND[first : first + 65_536].astype(np.float32)

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled float32 [batch_size, D], whole batches alone."""
        order = np.random.default_rng((seed, epoch)).permutation(len(self.x_ND))
        for first in range(skip * batch_size, len(order) - batch_size + 1, batch_size):
            yield self.x_ND[order[first : first + batch_size]].astype(np.float32)


def shift(one_IPD: np.ndarray, other_IPD: np.ndarray) -> float:
    """Distance of the means, over the root of the first's summed variance."""
    one, other = (maps.reshape(-1, maps.shape[-1]).astype(np.float64) for maps in (one_IPD, other_IPD))
    return float(np.linalg.norm(one.mean(0) - other.mean(0)) / np.sqrt(one.var(0).sum()))


def told_apart(one_IPD: np.ndarray, other_IPD: np.ndarray) -> float:
    """Share of vectors that a least-squares classifier of even images puts right among those of odd images."""
    halves = [
        [maps[half::2].reshape(-1, maps.shape[-1]).astype(np.float64) for maps in (one_IPD, other_IPD)]
        for half in (0, 1)
    ]
    x, y = np.concatenate(halves[0]), np.repeat([1.0, -1.0], [len(part) for part in halves[0]])
    mean = x.mean(0)
    weights = np.linalg.lstsq((x - mean).T @ (x - mean), (x - mean).T @ (y - y.mean()), rcond=1e-10)[0]
    scores = [(part - mean) @ weights for part in halves[1]]
    return float(np.mean([(scores[0] > 0).mean(), (scores[1] < 0).mean()]))


if __name__ == "__main__":
    main()
