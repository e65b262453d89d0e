"""Exact overlap sums between concepts and labelled masks, over images.

With nearest upsampling a mask enters only through its number of pixels in each grid cell, so every intersection is an
integer sum over the cells where a concept is on. Integer sums merge in any order: a map-reduce over images is exact.
What the sums mean statistically is in ``concepts.evidence``.

Shape suffixes: H halves (selection, held out), C concepts, P cells, L labels, E (concept, cell) pairs that are on,
T levels, S sums of a pair, Q places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concepts.blocks import Blocks
from concepts.places import Occupied, Places
from concepts.settings import PAPER_IOU

LEVELS = (1, 4, 16, 64)  # cells on from which a concept counts as present: a speck, a thing, stuff, a look
# Sums over the images where concept and label are both on, for each (label, concept) pair; first one for each level.
PAIR_SUMS = (
    "n_co",
    "n_co_4",
    "n_co_16",
    "n_co_64",
    "n_hit",
    "inter",
    "inter2",
    "inter_on",
    "inter_label",
    "on_label",
    "union_co",
    "meeting",  # the overlap at the places that chance is asked about, see ``concepts.places``
)
SELECTION, HELDOUT = 0, 1  # even and odd prompt ids


def cell_areas(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """int64 [rows * columns]: pixels of bool [H, W] in each cell. The grid must divide the image (ValueError)."""
    rows, columns = grid
    height, width = mask.shape
    if height % rows or width % columns:
        raise ValueError(f"a {rows}x{columns} grid does not divide a {height}x{width} image")
    return mask.reshape(rows, height // rows, columns, width // columns).sum((1, 3), dtype=np.int64).ravel()


def where_on(
    values_PK: np.ndarray, latents_PK: np.ndarray, act_max_C: np.ndarray, cut: float
) -> tuple[np.ndarray, np.ndarray]:
    """(concepts, cells), int64 [E] each: the cells of one image where each concept is on, from its codes.

    A concept's map is normalised by its maximum over the dictionary split and cut at ``cut`` (paper, section 3,
    which does not say by which maximum; an image's own would call its weakest flicker "on").
    """
    on = np.flatnonzero((values_PK > 0) & (values_PK >= cut * act_max_C[latents_PK]))
    return latents_PK.reshape(-1)[on].astype(np.int64), on // values_PK.shape[1]


@dataclass
class LabelSums:
    """What is summed for one label alone: int64 pixels, squared pixels and images [H], pixels per cell [H, P].

    ``occupancy`` [cell pixels + 1] counts the cells, over all its images, that hold so many pixels of the label;
    ``products`` [Q, Q] sums the pixels of two places over the images of the selection half.
    """

    pixels: np.ndarray
    pixels2: np.ndarray
    images: np.ndarray
    cells: np.ndarray
    occupancy: np.ndarray
    products: np.ndarray

    @classmethod
    def zeros(cls, cells: int, cell_pixels: int, places: int) -> LabelSums:
        """No image yet."""
        pixels, pixels2, images = np.zeros((3, 2), np.int64)
        shapes = ((2, cells), (cell_pixels + 1,), (places, places))
        return cls(pixels, pixels2, images, *(np.zeros(shape, np.int64) for shape in shapes))

    def merge(self, other: LabelSums) -> None:
        """Add another's sums."""
        for name in ("pixels", "pixels2", "images", "cells", "occupancy", "products"):
            getattr(self, name).__iadd__(getattr(other, name))


class OverlapStats:
    """Sums over images, apart for the selection half (even prompt ids) and the held-out half (odd ones).

    Labels are picked on the one and their IoU reported on the other: a maximum over hundreds of concepts is biased
    upwards where it was found. Memory is bounded (``concepts.blocks``), whatever the number of images and of labels.
    """

    def __init__(self, n_concepts: int, grid: tuple[int, int], cell_pixels: int) -> None:
        self.n, self.grid, self.cell_pixels = n_concepts, grid, cell_pixels
        self.n_cells = grid[0] * grid[1]
        # int64 is exact: squared pixels of 40,000 images of 512 px stay below 2^53
        self.pairs = Blocks((2, len(PAIR_SUMS), n_concepts))  # label -> [H, S, C], S as PAIR_SUMS
        self.labels: dict[str, LabelSums] = {}
        self.on, self.on2 = (np.zeros((2, n_concepts), np.int64) for _ in range(2))
        self.on_images = np.zeros((2, len(LEVELS), n_concepts), np.int64)
        self.on_cells = np.zeros((2, n_concepts, self.n_cells), np.int64)
        self.images = np.zeros(2, np.int64)
        self.places = Places(n_concepts, grid)

    def add(self, prompt_id: int, on: tuple[np.ndarray, np.ndarray], areas: dict[str, np.ndarray]) -> None:
        """One image: ``on`` from ``where_on``, ``areas`` label -> int64 [P] pixels in each cell (no label is fine).

        An image without any segment counts too: a concept that fires there is wrong there.
        """
        half = prompt_id % 2
        concepts_E, cells_E = on
        count_C = np.bincount(concepts_E, minlength=self.n)
        reached = [level for level in LEVELS if level <= count_C.max()]
        on_C, present_TC = count_C * self.cell_pixels, np.stack([count_C >= level for level in reached or LEVELS])
        present_TC = present_TC.astype(np.int64)
        self.images[half] += 1
        self.on[half] += on_C
        self.on2[half] += on_C * on_C
        self.on_images[half, : len(present_TC)] += present_TC
        self.on_cells[half].reshape(-1)[concepts_E * self.n_cells + cells_E] += 1  # each pair occurs once
        occupied = self.places.occupied(on)
        if half == SELECTION:
            self.places.add(occupied)
        for label, area_P in areas.items():
            size = int(area_P.sum())
            if size:
                area_Q = self.places.pooled(area_P)
                self._add_label(half, label, area_P, area_Q)
                inter_C = np.bincount(concepts_E, area_P.astype(float)[cells_E], self.n).astype(np.int64)
                block_SC = self.pairs[label][half]
                _add_pair(block_SC, inter_C, on_C, present_TC, size)
                block_SC[11] += _meeting(occupied, area_Q, self.n)

    def _add_label(self, half: int, label: str, area_P: np.ndarray, area_Q: np.ndarray) -> None:
        sums, size = self.labels.get(label), int(area_P.sum())
        if sums is None:
            sums = self.labels[label] = LabelSums.zeros(self.n_cells, self.cell_pixels, self.places.n)
            self.pairs.add(label)
        sums.pixels[half] += size
        sums.pixels2[half] += size * size
        sums.images[half] += 1
        sums.cells[half] += area_P
        sums.occupancy += np.bincount(area_P, minlength=self.cell_pixels + 1)
        if half == SELECTION:
            sums.products += area_Q[:, None] * area_Q

    def merge(self, other: OverlapStats) -> None:
        """Add another's sums; both must have the same concepts and grid (ValueError). Labels may differ."""
        if (self.n, self.grid, self.cell_pixels) != (other.n, other.grid, other.cell_pixels):
            raise ValueError("only statistics over the same concepts, grid and image size can be merged")
        for label, block in other.pairs.items():
            if label not in self.pairs:
                self.pairs.add(label)
                self.labels[label] = LabelSums.zeros(self.n_cells, self.cell_pixels, self.places.n)
            self.pairs[label].__iadd__(block)
            self.labels[label].merge(other.labels[label])
        for name in ("on", "on2", "on_images", "on_cells", "images"):
            getattr(self, name).__iadd__(getattr(other, name))
        self.places.products_CQQ += other.places.products_CQQ

    def ceiling(self, label: str) -> float:
        """The best pooled IoU that any choice of cells, in every image anew, can reach with the label's masks.

        Taking cells in order of falling occupancy and keeping the best prefix is exact: for any number of cells,
        swapping one for a fuller one raises the intersection and lowers the union.
        """
        sums = self.labels[label]
        filled = np.arange(self.cell_pixels, 0, -1)
        counts = sums.occupancy[filled]
        inside, chosen = np.cumsum(counts * filled), np.cumsum(counts) * self.cell_pixels
        return float((inside / (chosen + sums.pixels.sum() - inside)).max())


def _add_pair(block_SC: np.ndarray, inter_C: np.ndarray, on_C: np.ndarray, present_TC: np.ndarray, size: int) -> None:
    """Add one image to the sums of one label and each concept, rows as in PAIR_SUMS.

    Whole rows, though most concepts are off: scattered entries take as long from a few hundred on.
    """
    union_C = (on_C + size - inter_C) * present_TC[0]
    block_SC[: len(present_TC)] += present_TC
    block_SC[4] += inter_C > PAPER_IOU * union_C
    block_SC[5] += inter_C
    block_SC[6] += inter_C * inter_C
    block_SC[7] += inter_C * on_C
    block_SC[8] += inter_C * size
    block_SC[9] += on_C * size
    block_SC[10] += union_C


def _meeting(occupied: Occupied, area_Q: np.ndarray, n_concepts: int) -> np.ndarray:
    """int64 [C]: cells of each place where a concept is on, times the label's pixels there, in one image."""
    weights_E = (occupied.counts * area_Q[occupied.places]).astype(float)
    return np.bincount(occupied.concepts, weights_E, n_concepts).astype(np.int64)
