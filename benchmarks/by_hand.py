"""What is written by hand although a library has it: how much faster ours is, and that both say the same.

    python -m benchmarks.by_hand [--rounds 7]

Ours and the library's are timed in turn, on one thread; the median CPU time of the rounds counts. The reader of word
vectors is held against gensim's where that is installed (``pip install gensim``); it is no dependency of the project.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import false_discovery_control, hypergeom

from concepts.embeddings import load_word2vec
from concepts.evidence import copresence_tail, q_values
from concepts.matching import CoActivation, firing
from sae.largest import largest
from sae.sparse import stable_order
from storage.activations import finite_prompts
from vision.weights import is_finite

RNG = np.random.default_rng(0)


class Job(NamedTuple):
    """One thing done in two ways, and whether two results of it are the same."""

    name: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    same: Callable[[Any, Any], bool]


def tails() -> Job:
    """Of 5120 concepts beside one label in 10,000 images: those that meet it more often than by chance."""
    images, with_label = 10_000, 700
    with_concept = RNG.integers(1, images, 5120)
    mean = with_concept * with_label / images
    both = np.minimum(np.floor(mean + RNG.exponential(mean / 4 + 1)), np.minimum(with_concept, with_label)).astype(int)
    above = both * images > with_label * with_concept

    def library() -> np.ndarray:
        found = np.ones(len(both))
        found[above] = hypergeom.sf(both[above] - 1, images, with_label, with_concept[above])
        return found

    def ours() -> np.ndarray:
        return copresence_tail(both, images, with_label, with_concept)

    return Job("hypergeometric tail, 5120 pairs: scipy `hypergeom.sf`", ours, library, _near)


def discoveries() -> Job:
    """40,000 pairs that met among 1.5 million that might have."""
    p, tests = RNG.random(40_000) ** 5, 1_500_000

    def library() -> np.ndarray:
        return false_discovery_control(np.concatenate([p, np.ones(tests - len(p))]))[: len(p)]

    return Job("q-values: scipy `false_discovery_control`", lambda: q_values(p, tests), library, _near)


def selection(latents: int, k: int) -> Job:
    """The k largest in each of 1024 rows, the block that a training step selects from at once."""
    x = torch.from_numpy(RNG.normal(size=(1024, latents)).astype(np.float32))

    def same(ours: Any, library: Any) -> bool:
        return torch.equal(ours[0].sort(1).values, library[0].sort(1).values)

    name = f"{k} largest of {latents}: `torch.topk`"
    return Job(name, lambda: largest(x, k), lambda: x.topk(k, sorted=False), same)


def order() -> Job:
    """The stable order of 82,000 latents, 20 of each of 4096 vectors."""
    latents = torch.from_numpy(RNG.integers(0, 5120, 4096 * 20))
    return Job(
        "order of latents: `torch.argsort`",
        lambda: stable_order(latents, 5120),
        lambda: latents.argsort(stable=True),
        torch.equal,
    )


def recorded() -> Job:
    """Whether a shard of 32 prompts of 16 x 16 cells and 1280 channels is finite."""
    shard = RNG.normal(size=(32, 16, 16, 1280)).astype(np.float16)
    return Job(
        "float16 shard finite: `numpy.isfinite`",
        lambda: finite_prompts(shard),
        lambda: np.isfinite(shard).reshape(len(shard), -1).all(1),
        np.array_equal,
    )


def weights() -> Job:
    """Whether a tensor of ten million weights is finite."""
    tensor = torch.from_numpy(RNG.normal(size=10_000_000).astype(np.float32))
    return Job(
        "weights finite: `torch.isfinite`",
        lambda: is_finite(tensor),
        lambda: bool(torch.isfinite(tensor).all()),
        lambda ours, library: ours == library,
    )


def vectors(folder: Path) -> Job | None:
    """A text file of 20,000 words of 100 numbers; None without gensim."""
    try:
        from gensim.models import KeyedVectors
    except ImportError:
        return None
    path, words = str(folder / "vectors.txt"), [f"w{i}" for i in range(20_000)]
    rows = RNG.normal(size=(len(words), 100))
    lines = (f"{word} {' '.join(f'{value:.6f}' for value in row)}" for word, row in zip(words, rows, strict=True))
    Path(path).write_text("\n".join([f"{len(words)} 100", *lines]) + "\n", encoding="utf-8")
    return Job(
        "word vectors: gensim `load_word2vec_format`",
        lambda: load_word2vec(path)(words),
        lambda: KeyedVectors.load_word2vec_format(path)[words],
        np.array_equal,
    )


def together() -> Job:
    """How often each two of 5120 concepts fire at one of 65,536 positions, ten at each: added to what was counted."""
    latents = RNG.integers(0, 512, (65_536, 10)) + 512 * np.arange(10)
    on = firing(np.ones(latents.shape), latents, 5120)
    counts, total = CoActivation(5120, 5120, with_shuffled=False), np.zeros((5120, 5120), np.int32)

    def ours() -> np.ndarray:
        counts.add(on, on, 256)
        return counts.both

    def library() -> np.ndarray:
        return np.add(total, (on.T @ on).toarray(), out=total)

    return Job("pairs of concepts that fire together: scipy `csr_array @`", ours, library, np.array_equal)


def _near(ours: np.ndarray, library: np.ndarray) -> bool:
    return bool(np.allclose(ours, library, rtol=1e-9, atol=0.0))


def timed(job: Job, rounds: int) -> tuple[float, float]:
    """Median CPU milliseconds of ours and of the library's. Raises ``AssertionError`` where they differ."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        results = []
        for way, seconds in zip((job.ours, job.theirs), spent, strict=True):
            began = time.process_time()
            results.append(way())
            seconds.append(time.process_time() - began)
        assert job.same(*results), f"{job.name}: the two differ"
    return 1000 * statistics.median(spent[0]), 1000 * statistics.median(spent[1])


def main() -> None:
    """Command line of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        selections = [selection(512, 10), selection(5120, 20), selection(5120, 80)]
        jobs: list[Job | None] = [tails(), discoveries(), *selections, order(), recorded(), weights(), together()]
        jobs.append(vectors(Path(folder)))
        print("| job: the library's way | ours, ms | the library's, ms | ratio |\n| --- | --- | --- | --- |")
        for job in jobs:
            if job:
                ours, library = timed(job, rounds)
                print(f"| {job.name} | {ours:.2f} | {library:.2f} | {library / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
