"""Second moments of where concepts and labels are, from which the permutation variance of their overlap is exact.

The variance needs every pair of places, a square of their number, so that a fine grid is pooled to at most ``SIDE``
places a side: 64 places and 4,096 sums a concept, where 256 cells would take 65,536.

Shape suffixes: C concepts, P cells, Q places, E (concept, place) pairs that are on, X pairs of those of one concept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SIDE = 8


class Occupied(NamedTuple):
    """How many cells of which place each concept is on in, in one image: int64 [E], ascending by concept, place."""

    concepts: np.ndarray
    places: np.ndarray
    counts: np.ndarray


class Places:
    """The places of a grid, and the second moments of concepts over them."""

    def __init__(self, n_concepts: int, grid: tuple[int, int]) -> None:
        rows, columns = (np.arange(side) * min(side, SIDE) // side for side in grid)
        self.place_P = (rows[:, None] * min(grid[1], SIDE) + columns).ravel()
        self.n = int(self.place_P[-1]) + 1
        # Whole numbers, exact in float64 as far as 2^53, so that merging in any order is exact as well.
        self.products_CQQ = np.zeros((n_concepts, self.n, self.n))

    def occupied(self, on: tuple[np.ndarray, np.ndarray]) -> Occupied:
        """``on`` from ``overlap.where_on``."""
        concepts_E, cells_E = on
        key, counts = np.unique(concepts_E * self.n + self.place_P[cells_E], return_counts=True)
        return Occupied(*np.divmod(key, self.n), counts)

    def pooled(self, cells: np.ndarray) -> np.ndarray:
        """int64 [..., Q]: sums over the cells of each place, of int64 [..., P]."""
        order = np.argsort(self.place_P, kind="stable")
        return np.add.reduceat(cells[..., order], np.searchsorted(self.place_P[order], np.arange(self.n)), axis=-1)

    def add(self, occupied: Occupied) -> None:
        """One image's counts times each other, for every two places where one concept is on."""
        run_E = np.bincount(occupied.concepts)[occupied.concepts]  # pairs that the entry's concept has
        start_E = np.searchsorted(occupied.concepts, occupied.concepts)
        first_X = np.repeat(np.arange(len(run_E)), run_E)
        within_X = np.arange(len(first_X)) - np.repeat(np.cumsum(run_E) - run_E, run_E)
        second_X = start_E[first_X] + within_X
        at = (occupied.concepts[first_X], occupied.places[first_X], occupied.places[second_X])
        self.products_CQQ[at] += occupied.counts[first_X] * occupied.counts[second_X]  # each occurs once

    def against(self, first_CQ: np.ndarray, scatter_QQ: np.ndarray, images: int) -> np.ndarray:
        """float64 [C]: images * <scatter of the concept, ``scatter_QQ``>, with ``first_CQ`` the concepts' sums.

        By einsum and not by a matrix product, whose last bit follows from the number of threads.
        """
        whole = images * np.einsum("cqr,qr->c", self.products_CQQ, scatter_QQ)
        apart = whole - np.einsum("cq,cq->c", np.einsum("cq,qr->cr", first_CQ, scatter_QQ), first_CQ)
        return np.where(apart > 1e-9 * whole, apart, 0.0)  # what rounding leaves of nothing is nothing
