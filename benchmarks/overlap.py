"""Overlap of all concepts of one SAE with an image's masks: our integer sums beside a dense torch loop.

    python -m benchmarks.overlap

Sizes of the paper's up and down blocks: 5120 concepts, k = 32, a 16 x 16 grid, 8 masks an image of 512 px; one core.
The dense loop does the same work on maps [5120, 256]: binarise, intersect, the same sums. Both are checked to be equal.
The other passes of a labelling unit are timed too, so that the cost of 40,000 images can be worked out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from concepts.codes import Codes
from concepts.overlap import LEVELS, PAIR_SUMS, OverlapStats, where_on
from concepts.properties import ColourSums
from concepts.scan import ConceptScan, StrongestImages
from sae.model import TopKSAE
from study.codes import encode_maps

CONCEPTS, K, GRID, MASKS, SIDE = 5120, 32, (16, 16), 8, 512
CELL = (SIDE // GRID[0]) * (SIDE // GRID[1])
Image = tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]


def make_images(count: int, seed: int = 0) -> list[Image]:
    """Codes [256, K] with neighbours alike, and rectangles as masks, from 48 labels."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        pool = rng.permutation(CONCEPTS)[:400]  # an image uses some of the concepts, again and again
        latents = np.stack([rng.choice(pool, K, replace=False) for _ in range(256)])
        values = rng.exponential(1.0, (256, K)).astype(np.float32)
        areas = {}
        for label in rng.permutation(48)[:MASKS]:
            mask = np.zeros((SIDE, SIDE), bool)
            y, x, h, w = rng.integers(0, SIDE // 2, 4)
            mask[y : y + h + 16, x : x + w + 16] = True
            area = mask.reshape(16, 32, 16, 32).sum((1, 3), dtype=np.int64).ravel()
            areas[f"label {label}"] = area
        images.append((values, latents, areas))
    return images


class DenseSums:
    """The same sums by dense torch tensors, image by image."""

    def __init__(self, act_max: np.ndarray) -> None:
        self.cut = torch.from_numpy(act_max * np.float32(0.1))
        self.pairs: dict[str, torch.Tensor] = {}
        self.on, self.on2 = torch.zeros(CONCEPTS, dtype=torch.float64), torch.zeros(CONCEPTS, dtype=torch.float64)
        self.on_cells = torch.zeros(CONCEPTS, 256)

    def add(self, values: np.ndarray, latents: np.ndarray, areas: dict[str, np.ndarray]) -> None:
        """One image's codes [P, K] and areas of its labels in every cell, label -> [P]."""
        maps = torch.zeros(256, CONCEPTS).scatter_(1, torch.from_numpy(latents), torch.from_numpy(values)).T
        on_maps = ((maps > 0) & (maps >= self.cut[:, None])).float()
        area = torch.from_numpy(np.stack(list(areas.values()))).float()
        on = on_maps.sum(1).double() * CELL
        self.on += on
        self.on2 += on * on
        self.on_cells += on_maps
        inter = (on_maps @ area.T).double()
        size = area.sum(1).double()
        both = (on[:, None] > 0).double().expand(-1, len(areas))
        union = (on[:, None] + size - inter) * both
        cells = on_maps.sum(1)[:, None]
        terms = [(cells >= level).double().expand(-1, len(areas)) for level in LEVELS]
        terms += [(inter > 0.5 * union).double(), inter, inter**2, inter * on[:, None], inter * size]
        terms += [on[:, None] * size, union]
        block = torch.stack(terms)  # [S, C, L]
        for i, label in enumerate(areas):
            if label not in self.pairs:
                self.pairs[label] = torch.zeros(len(PAIR_SUMS), CONCEPTS, dtype=torch.float64)
            self.pairs[label] += block[:, :, i]


def per_image(work: Callable[[Any], Any], images: Sequence[Any]) -> float:
    """Median milliseconds an image."""
    times = []
    for image in images:
        started = time.perf_counter()
        work(image)
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def labelling_steps(images: list[Image], act_max: np.ndarray) -> dict[str, float]:
    """Milliseconds an image of the other passes that one SAE's labels take, by name."""
    codes = [Codes([i], values[None], latents[None]) for i, (values, latents, _) in enumerate(images)]
    scan = ConceptScan(CONCEPTS, GRID)
    for part in codes:
        scan.add_maxima(part)
    found = {"maxima": per_image(scan.add_maxima, codes), "sums": per_image(scan.add_images, codes)}
    examples = StrongestImages(scan, 10, 3)
    found["examples"] = per_image(examples.offer, codes)
    colours, rng = ColourSums(CONCEPTS), np.random.default_rng(0)
    rgb = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    found["colours"] = per_image(lambda i: colours.add(*where_on(i[0], i[1], act_max, 0.1), rgb), images)
    sae = TopKSAE(1280, CONCEPTS, K)
    torch.nn.init.normal_(sae.W_enc)
    maps = rng.normal(size=(1, *GRID, 1280)).astype(np.float16)
    found["encoding"] = per_image(lambda _: encode_maps(sae, maps), images[:10])
    return found


def main() -> None:
    """Command line of the script."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=100)
    images = make_images(options.parse_args().images)
    torch.set_num_threads(1)
    act_max = np.ones(CONCEPTS, np.float32)
    stats, dense = OverlapStats(CONCEPTS, GRID, CELL), DenseSums(act_max)
    numbers = iter(range(0, 2 * len(images), 2))  # one half, as the dense sums have no halves
    ours = per_image(lambda i: stats.add(next(numbers), where_on(i[0], i[1], act_max, 0.1), i[2]), images)
    loop = per_image(lambda i: dense.add(*i), images)
    for label, block in dense.pairs.items():
        assert np.array_equal(stats.pairs[label][0], block.numpy().astype(np.int64)), label
    print(f"sparse integer sums {ours:.2f} ms an image, dense torch loop {loop:.1f} ms: ratio {loop / ours:.1f}")
    steps = labelling_steps(images, act_max)
    print("beside them, ms an image: " + ", ".join(f"{name} {ms:.2f}" for name, ms in steps.items()))
    # trained: all steps, and overlaps twice (its masks out of place); five controls: encoding, maxima, overlaps
    trained, control = sum(steps.values()) + 2 * ours, steps["encoding"] + steps["maxima"] + ours
    for name, ms in (("overlaps", ours), ("the dictionary", trained), ("with five controls", trained + 5 * control)):
        print(f"40,000 images x 18 sites x 2 k on two cores, {name}: {40_000 * 36 * ms / 1000 / 3600 / 2:.1f} hours")


if __name__ == "__main__":
    main()
