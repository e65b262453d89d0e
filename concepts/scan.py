"""What passes over the codes of a split tell about every concept: range, density, spread, and the examples of a card.

Three passes in this order, each over all images: ``add_maxima`` (the scale of every map), ``add_images`` (sums, and how
strong each concept's images are), ``StrongestImages.offer`` (those of each quantile bin). How strong a concept is in an
image is its largest activation or, as in the paper, its mean over positions. Memory does not grow with the number of
images. Shape suffixes: C concepts, P cells, K slots, B bins, R ranks, F fine bins of strength.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from concepts.codes import Codes, CodesOnDisk
from concepts.properties import PlaceSums

FINE = 1024  # quantile bins are exact to this part of a concept's maximum: a histogram instead of all strengths
PEAK, MEAN = "peak", "mean"  # what images of a concept are ranked by


class ConceptScan:
    """Streaming statistics of every concept over a split; ``ranked_by``: ``PEAK`` or ``MEAN``."""

    def __init__(self, n_concepts: int, grid: tuple[int, int], ranked_by: str = PEAK) -> None:
        self.n, self.grid, self.n_cells, self.ranked_by = n_concepts, grid, grid[0] * grid[1], ranked_by
        self.images = 0
        self.act_max = np.zeros(n_concepts, np.float32)
        self.total = np.zeros(n_concepts)
        self.count, self.count2, self.images_on = (np.zeros(n_concepts, np.int64) for _ in range(3))
        self.places = PlaceSums.zeros(n_concepts, self.n_cells)
        self.sum_max = np.zeros(n_concepts)  # largest sum over the cells of an image, for ``MEAN`` alone
        self.strengths_CF = np.zeros((n_concepts, FINE), np.int64)  # images by their part of the strongest image

    def add_maxima(self, codes: Codes) -> None:
        """First pass."""
        np.maximum.at(self.act_max, codes.latents.ravel(), codes.values.ravel())
        if self.ranked_by == MEAN:
            for values_PK, latents_PK in zip(codes.values, codes.latents, strict=True):
                sums_C = np.bincount(latents_PK.ravel(), values_PK.ravel(), minlength=self.n)
                np.maximum(self.sum_max, sums_C, out=self.sum_max)

    def add_images(self, codes: Codes) -> None:
        """Second pass."""
        for values_PK, latents_PK in zip(codes.values, codes.latents, strict=True):
            self._add(values_PK, latents_PK)

    def _add(self, values_PK: np.ndarray, latents_PK: np.ndarray) -> None:
        on_PK = values_PK > 0
        latents, values, cells = latents_PK[on_PK], values_PK[on_PK], np.nonzero(on_PK)[0]
        count_C = np.bincount(latents, minlength=self.n)
        self.images += 1
        self.total += np.bincount(latents, values, minlength=self.n)
        self.count += count_C
        self.count2 += count_C * count_C
        self.images_on += count_C > 0
        self.places.add(latents, cells, values.astype(float) / self.act_max[latents])
        runs = by_concept(latents, values)
        self.strengths_CF[runs.active, fine_bin(self.strength(runs))] += 1

    def strength(self, runs: ByConcept) -> np.ndarray:
        """Of each active concept in an image, the part of its strongest image, in (0, 1]."""
        if self.ranked_by == MEAN:
            return runs.sums / self.sum_max[runs.active]
        return runs.peaks / self.act_max[runs.active]

    def quantile_bins(self, bins: int) -> np.ndarray:
        """int8 [C, F]: the quantile bin of each strength; bin 0 holds the strongest 1 / bins of a concept's images."""
        stronger_CF = np.cumsum(self.strengths_CF[:, ::-1], 1)[:, ::-1] - self.strengths_CF
        share_CF = stronger_CF / np.maximum(self.images_on, 1)[:, None]
        return np.minimum((share_CF * bins).astype(np.int8), bins - 1)

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of ``concepts`` that need the codes alone, each [C]; NaN where a concept never fires."""
        alive = self.count > 0
        images = max(self.images, 1)
        return {
            "cid": np.arange(self.n),
            "alive": alive,
            "density": self.count / (images * self.n_cells),
            "act_mean": self.total / np.maximum(self.count, 1),
            "act_max": self.act_max.astype(float),
            "n_images": self.images_on,
            "context_free_score": self.places.context_free(),
        }


class ByConcept(NamedTuple):
    """An image's codes sorted by concept: ``order`` sorts them, a concept's run goes from its start to the next one's.

    ``active`` are the concepts that are on, ascending, ``peaks`` their largest activations, ``sums`` those over cells.
    """

    order: np.ndarray
    starts: np.ndarray
    active: np.ndarray
    peaks: np.ndarray
    sums: np.ndarray


def by_concept(latents: np.ndarray, values: np.ndarray) -> ByConcept:
    """Group an image's codes, each with a value above 0; within a concept the order of the cells stays."""
    order = np.argsort(latents, kind="stable")
    ordered = latents[order]
    if not len(ordered):
        return ByConcept(order, np.zeros(0, int), ordered, values, values)
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    values = values[order]
    sums = np.add.reduceat(values.astype(float), starts)
    return ByConcept(order, starts, ordered[starts], np.maximum.reduceat(values, starts), sums)


def fine_bin(fraction: np.ndarray) -> np.ndarray:
    """Number of the fine bin of a peak, 0 to FINE - 1."""
    return np.minimum((fraction * FINE).astype(np.int64), FINE - 1)


class StrongestImages:
    """The strongest ``per_bin`` images of each quantile bin of each concept, ties to the smaller prompt id."""

    def __init__(self, scan: ConceptScan, bins: int, per_bin: int) -> None:
        self.scan, self.bins, self.per_bin = scan, bins, per_bin
        self._bins_CF = scan.quantile_bins(bins)
        self._fraction_CBR = np.full((scan.n, bins, per_bin), -np.inf, np.float32)
        self._id_CBR = np.full((scan.n, bins, per_bin), -1, np.int64)
        self._maps: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}

    def offer(self, codes: Codes) -> None:
        """Third pass: images in ascending order of their ids."""
        for prompt_id, values_PK, latents_PK in zip(codes.ids, codes.values, codes.latents, strict=True):
            on_PK = values_PK > 0
            latents, values, cells = latents_PK[on_PK], values_PK[on_PK], np.nonzero(on_PK)[0]
            runs = by_concept(latents, values)
            fraction = self.scan.strength(runs)
            bin_of = self._bins_CF[runs.active, fine_bin(fraction)]
            wanted = np.flatnonzero(fraction > self._fraction_CBR[runs.active, bin_of].min(1))
            ends = np.append(runs.starts[1:], len(latents))
            for run in wanted.tolist():
                mine = runs.order[runs.starts[run] : ends[run]]
                at = int(runs.active[run]), int(bin_of[run])
                self._insert(*at, float(fraction[run]), prompt_id, (cells[mine], values[mine]))

    def _insert(self, cid: int, bin_: int, part: float, prompt_id: int, found: tuple[np.ndarray, np.ndarray]) -> None:
        parts = self._fraction_CBR[cid, bin_]
        weakest = np.flatnonzero(parts == parts.min())
        slot = int(weakest[self._id_CBR[cid, bin_][weakest].argmax()])  # of equals the later image goes
        parts[slot], self._id_CBR[cid, bin_, slot] = part, prompt_id
        self._maps[cid, bin_, slot] = found

    def columns(self) -> dict[str, Any]:
        """The columns of ``concept_examples``, sorted by (cid, bin, rank)."""
        cids, bins, slots = np.nonzero(self._id_CBR >= 0)
        parts, ids = self._fraction_CBR[cids, bins, slots], self._id_CBR[cids, bins, slots]
        order = np.lexsort((ids, -parts, bins, cids))
        cids, bins, slots, ids = cids[order], bins[order], slots[order], ids[order]
        group = np.append(True, (np.diff(cids) != 0) | (np.diff(bins) != 0)) if len(cids) else np.zeros(0, bool)
        position = np.arange(len(cids))
        maps = [self._maps[key] for key in zip(cids.tolist(), bins.tolist(), slots.tolist(), strict=True)]
        return {
            "cid": cids,
            "bin": bins,
            "rank": position - np.maximum.accumulate(np.where(group, position, 0)),
            "prompt_id": ids,
            "act_max": [float(values.max()) for _, values in maps],
            "map_indices": [cells.astype(np.int32) for cells, _ in maps],
            "map_values": [values for _, values in maps],
            "grid": [list(self.scan.grid)] * len(cids),
        }


def scan_ranges(codes: CodesOnDisk, grid: tuple[int, int], ranked_by: str = PEAK) -> ConceptScan:
    """The first pass alone: all that the overlaps of a control need."""
    scan = ConceptScan(codes.n_concepts, grid, ranked_by)
    for part in codes:
        scan.add_maxima(part)
    return scan


def scan_concepts(codes: CodesOnDisk, grid: tuple[int, int], ranked_by: str = PEAK) -> ConceptScan:
    """The first two passes."""
    scan = scan_ranges(codes, grid, ranked_by)
    for part in codes:
        scan.add_images(part)
    return scan


def find_examples(codes: CodesOnDisk, scan: ConceptScan, bins: int, per_bin: int) -> dict[str, Any]:
    """The third pass: the columns of ``concept_examples``."""
    examples = StrongestImages(scan, bins, per_bin)
    for part in codes:
        examples.offer(part)
    return examples.columns()


def example_map(row: Mapping[str, Any]) -> np.ndarray:
    """float32 [rows, columns]: the map that a row of ``concept_examples`` holds, 0 where it names no cell."""
    heat = np.zeros(row["grid"], np.float32)
    heat.ravel()[row["map_indices"]] = row["map_values"]
    return heat
