"""How strongly each concept of a dictionary fires, and which others fire where it does: one pass over its codes.

*Co-activation* is that of ``concepts.matching``: positions where both fire over those where either does (Jaccard). Its
control, *shuffled*, is what it would be if each image of one concept were paired with any image of the other: of each
cell the two counts, multiplied, over the number of images. That is the mean over all pairings, and what the place of
both alone explains.

Memory is that of one count for each pair of concepts (int32), whatever the number of images. Shape suffixes: C
concepts, P cells of the grid, H parts of the histogram, N partners; B concepts of a block, all of whose pairs are in
memory at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.codes import Codes, CodesOnDisk
from concepts.matching import CoActivation, firing, jaccard
from concepts.scan import PEAK, ConceptScan, scan_ranges

PARTS = 20  # of the histogram
PARTNERS = 8  # at most, of each concept
BLOCK = 256  # concepts whose co-activation with all others is in memory at once
PAIRED = ("coactive", "coactivation", "coactivation_shuffled", "n_both")


class Activity:
    """Counts over the positions of a split. ``act_max_C``: the largest activation of each concept there."""

    def __init__(self, act_max_C: np.ndarray, n_cells: int) -> None:
        self.act_max_C = act_max_C.astype(float)
        n = len(act_max_C)
        self.images = 0
        self.histogram_CH = np.zeros((n, PARTS), np.int64)
        self.on_CP = np.zeros((n, n_cells), np.int64)
        self.together = CoActivation(n, n, with_shuffled=False)

    def add(self, codes: Codes) -> None:
        """Count some images, in any order."""
        n, n_cells = self.on_CP.shape
        self.images += len(codes.values)
        on = firing(codes.values, codes.latents, n)
        self.together.add(on, on, n_cells)
        above = codes.values > 0
        latents, cells = codes.latents[above], np.nonzero(above)[1]
        self.histogram_CH += _counted(latents, self._part(latents, codes.values[above]), self.histogram_CH.shape)
        self.on_CP += _counted(latents, cells, self.on_CP.shape)

    def _part(self, latents: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Number of the part that each value is in, 0 to PARTS - 1; a part has its upper end, and not its lower."""
        # Multiplied first: the product of a float32 is exact, so that the quotient is whole only where it should be.
        return np.ceil(values.astype(float) * PARTS / self.act_max_C[latents]).astype(np.int64) - 1

    def columns(self) -> dict[str, Any]:
        """The columns of ``concept_activity``, each [C]: numbers, and lists of as many entries as there are partners.

        Partners by co-activation, highest first, equal ones by CID: others than the concept itself, that fire with it
        at all.
        """
        n = len(self.act_max_C)
        blocks = [self._pairs(np.arange(start, min(start + BLOCK, n))) for start in range(0, n, BLOCK)]
        cids = np.concatenate([block["cid"] for block in blocks])
        ends = np.cumsum(np.bincount(cids, minlength=n))[:-1]
        paired = {name: np.split(np.concatenate([block[name] for block in blocks]), ends) for name in PAIRED}
        return {"cid": np.arange(n), "histogram": list(self.histogram_CH), **paired}

    def _pairs(self, block_B: np.ndarray) -> dict[str, np.ndarray]:
        """Of these concepts, ``cid`` with its partner in each place of ``coactive``, and the numbers of the pair."""
        count_C = self.together.n_from
        score_BC = jaccard(self.together.both[block_B], count_C[block_B, None], count_C)
        score_BC[np.arange(len(block_B)), block_B] = 0.0
        best_BN, value_BN = strongest(score_BC, PARTNERS)
        there_BN = value_BN > 0
        first, second = np.repeat(block_B, there_BN.sum(1)), best_BN[there_BN]
        expected = (self.on_CP[first] * self.on_CP[second]).sum(1) / self.images
        return {
            "cid": first,
            "coactive": second,
            "coactivation": value_BN[there_BN],
            "coactivation_shuffled": jaccard(expected, count_C[first], count_C[second]),
            "n_both": self.together.both[first, second],
        }


def strongest(score_BC: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each row the columns of its ``n`` largest values and these, both [B, n]; equal ones in their own order.

    No value is below 0; a row without so many columns ends with zeros. ``score_BC`` is used up.
    """
    rows = np.arange(len(score_BC))
    best_BN, value_BN = np.empty((len(rows), n), np.int64), np.empty((len(rows), n))
    for place in range(n):
        best_BN[:, place] = score_BC.argmax(1)
        value_BN[:, place] = score_BC[rows, best_BN[:, place]]
        score_BC[rows, best_BN[:, place]] = 0.0
    return best_BN, value_BN


def _counted(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """How often each pair of numbers occurs, int64 of a shape of two axes."""
    return np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1]).reshape(shape)


def scan_activity(codes: CodesOnDisk, grid: tuple[int, int], ranked_by: str = PEAK) -> tuple[ConceptScan, Activity]:
    """The first two passes of ``concepts.scan``; the second counts activity, too, from the same read."""
    scan = scan_ranges(codes, grid, ranked_by)
    activity = Activity(scan.act_max, scan.n_cells)
    for part in codes:
        scan.add_images(part)
        activity.add(part)
    return scan, activity
