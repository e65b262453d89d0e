"""What a concept is like besides its labels: pure or mixed, where it fires, how much of an image, on what colour.

Shape suffixes: C concepts, L labels, E embedding width, P cells of a grid, N (concept, cell) pairs that are on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.embeddings import label_lists

MIN_PLACED = 10  # images in which a concept fires, below which chance alone puts its few firings at one place


def cohesion(columns: Mapping[str, Any], vectors: Mapping[str, np.ndarray], n_concepts: int) -> np.ndarray:
    """float64 [C] in [-1, 1]: mean cosine of each concept's labels to their mean; higher is purer (paper, section 3).

    Labels and their counts are the paper's list, see ``embeddings.label_lists``: a label counts as often as it was hit.
    1 for a concept of one label, whatever its count; 0 where the labels cancel, so that no direction is theirs; NaN
    without a label. ``vectors`` maps every label to [E]; one of length 0, as centring leaves a study's only label, has
    no direction and adds none.
    """
    mean = np.full(n_concepts, np.nan)
    weights_CL, labels = label_lists(columns, n_concepts)
    if not labels:
        return mean
    vectors_LE = np.stack([vectors[label] for label in labels]).astype(float)
    lengths_L = np.linalg.norm(vectors_LE, axis=1)
    units_LE = vectors_LE / np.where(lengths_L > 0, lengths_L, 1)[:, None]
    total_C, distinct_C = weights_CL.sum(1), np.diff(weights_CL.indptr)
    means_CE, units_CE = ((weights_CL @ rows) / np.maximum(total_C, 1)[:, None] for rows in (vectors_LE, units_LE))
    length_C = np.linalg.norm(means_CE, axis=1)
    length_C[length_C <= 1e-9 * lengths_L.max()] = np.inf
    mean[distinct_C > 0] = ((means_CE * units_CE).sum(1) / length_C)[distinct_C > 0]
    mean[distinct_C == 1] = 1.0
    return mean


def separability(centres_CE: np.ndarray) -> float:
    """The mean cosine of two different concepts' centres; lower is more distinct (paper, section 3).

    NaN rows are concepts without a label and do not count; NaN for fewer than two centres. A centre at zero has no
    direction: its cosines are 0. In closed form from the sum s of the n unit vectors, (|s|^2 - n) / (n (n - 1)), since
    the sum over all ordered pairs is |s|^2.
    """
    centres = centres_CE[np.isfinite(centres_CE).all(1)].astype(float)
    n = len(centres)
    if n < 2:
        return float("nan")
    length = np.linalg.norm(centres, axis=1, keepdims=True)
    units = centres / np.where(length > 0, length, 1.0)
    total = units.sum(0)
    return float((total @ total - np.square(units).sum()) / (n * (n - 1)))


def position_selectivity(on_cells_CP: np.ndarray) -> np.ndarray:
    """float64 [C] in [0, 1]: 1 - H / log P, with H the entropy of where on the grid a concept fires over all images.

    0 for one that fires everywhere alike, 1 for one that fires in a single cell, NaN for one that never does and for a
    grid of one cell. ``on_cells_CP`` counts the images in which the concept is on in the cell. Few firings look
    selective by chance: n of them have an entropy of at most log n.
    """
    cells = on_cells_CP.shape[1]
    total_C = on_cells_CP.sum(1).astype(float)
    if cells < 2:
        return np.full(len(on_cells_CP), np.nan)
    share_CP = on_cells_CP / np.where(total_C > 0, total_C, np.nan)[:, None]
    log_CP = np.log(share_CP, out=np.zeros_like(share_CP), where=share_CP > 0)
    return np.clip(1.0 + (share_CP * log_CP).sum(1) / np.log(cells), 0.0, 1.0)


@dataclass
class PlaceSums:
    """How each concept's map lies from image to image, streaming. Float64 [C], ``at_cell`` and ``at_rank`` [C, P].

    ``at_cell`` sums the activations of each cell, ``at_rank`` those of an image's strongest cell, of its second, and so
    on; ``square`` sums squared activations and ``square_of_sums`` the squares of an image's sum, over ``images``.
    """

    at_cell: np.ndarray
    at_rank: np.ndarray
    square: np.ndarray
    square_of_sums: np.ndarray
    images: np.ndarray

    @classmethod
    def zeros(cls, n_concepts: int, n_cells: int) -> PlaceSums:
        """No image yet."""
        cells = np.zeros((2, n_concepts, n_cells))
        return cls(*cells, *np.zeros((3, n_concepts)))

    def add(self, concepts_N: np.ndarray, cells_N: np.ndarray, values_N: np.ndarray) -> None:
        """One image: which concept is on where and how strongly; each (concept, cell) occurs once."""
        order = np.lexsort((-values_N, concepts_N))
        concepts, values, n = concepts_N[order], values_N[order], len(self.square)
        rank = np.arange(len(order)) - np.searchsorted(concepts, concepts)
        total = np.bincount(concepts, values, n)
        self.at_cell[concepts, cells_N[order]] += values
        self.at_rank[concepts, rank] += values
        self.square += np.bincount(concepts, values * values, n)
        self.square_of_sums += total * total
        self.images += total > 0

    def context_free(self) -> np.ndarray:
        """float64 [C]: 0 for a concept that has one place in all images where it fires, 1 where place says nothing.

        The paper marks such concepts by a small variance of the map between images (section 3). How often and how
        strongly a concept fires moves that variance far more than place does, so that alone it ranks rarity. Here it
        is put between what the same activations, image by image, would have if each image's were dealt to its cells at
        random (1, on average) and if all images had their strongest cell at one place, their second at another, and so
        on, which no other arrangement undercuts (0). NaN in fewer than ``MIN_PLACED`` images and where the arrangement
        cannot matter, as for a concept that is on everywhere alike.
        """
        cells = self.at_cell.shape[1]
        # Of N P variance, sum of squares less sum_p (sum_i x_ip)^2 / N, only the latter depends on the arrangement.
        actual, aligned = np.square(self.at_cell).sum(1), np.square(self.at_rank).sum(1)
        random = self.square + (self.at_cell.sum(1) ** 2 - self.square_of_sums) / cells
        told = (self.images >= MIN_PLACED) & (aligned - random > 1e-9 * aligned)
        return np.where(told, np.maximum(aligned - actual, 0.0) / np.where(told, aligned - random, 1.0), np.nan)


def coverage(
    images_C: np.ndarray, cells_C: np.ndarray, cells2_C: np.ndarray, n_cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard deviation), float64 [C] each: the share of an image's cells where a concept is on.

    Over the images where it fires; NaN for a concept that never does. From integer sums over images: ``images_C``
    where it fires, its cells, and its cells squared. A mean near 1 is a global concept, which fires everywhere; small
    means with small deviations are things of one size.
    """
    images = np.where(images_C > 0, images_C, 1)
    # n S(x^2) - S(x)^2 in integers: no cancellation, and exact below 2^63 (40,000 images of 256 cells reach 2^47)
    spread = np.sqrt((images_C * cells2_C - cells_C * cells_C).astype(float)) / images
    fires = images_C > 0
    mean, deviation = cells_C / images / n_cells, spread / n_cells
    return np.where(fires, mean, np.nan), np.where(fires, deviation, np.nan)


class ColourSums:
    """Streaming sums of the colour of the cells where each concept is on. Integers: they merge exactly, in any order.

    Attributes, int64: ``cells`` [C] and ``rgb`` [C, 3] over the cells that are on; ``all_cells``, ``all_rgb`` [3] and
    ``all_square`` (of all three channels) over every cell of every image.
    """

    def __init__(self, n_concepts: int) -> None:
        self.n = n_concepts
        self.cells, self.rgb = np.zeros(n_concepts, np.int64), np.zeros((n_concepts, 3), np.int64)
        self.all_cells, self.all_rgb, self.all_square = np.int64(0), np.zeros(3, np.int64), np.int64(0)

    def add(self, concepts_N: np.ndarray, cells_N: np.ndarray, rgb_P3: np.ndarray) -> None:
        """One image: where which concept is on (``overlap.where_on``), and each cell's mean colour, uint8 [P, 3]."""
        rgb = rgb_P3.astype(np.int64)
        self.all_cells += len(rgb)
        self.all_rgb += rgb.sum(0)
        self.all_square += (rgb * rgb).sum()
        self.cells += np.bincount(concepts_N, minlength=self.n)
        for channel in range(3):
            # bincount adds in float64, which is exact: an image's sum stays far below 2^53
            below = np.bincount(concepts_N, rgb_P3[cells_N, channel], self.n)
            self.rgb[:, channel] += below.astype(np.int64)

    def merge(self, other: ColourSums) -> None:
        """Add another's sums, which must be of as many concepts (ValueError)."""
        if self.n != other.n:
            raise ValueError(f"colour sums of {self.n} and of {other.n} concepts cannot be merged")
        for name in ("cells", "rgb", "all_cells", "all_rgb", "all_square"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def mean(self) -> np.ndarray:
        """float64 [C, 3], 0 to 255: the mean colour below each concept; NaN rows never fire."""
        return self.rgb / np.where(self.cells > 0, self.cells, np.nan)[:, None]

    def selectivity(self) -> np.ndarray:
        """float64 [C] in [0, 1]: the share of the cells' variance of colour that "on or not" explains (eta squared).

        SS_between / SS_total of two groups, the cells where the concept is on and all the rest, each summed over the
        three channels. NaN where a group is empty and where all cells have one colour. A rare concept explains little
        of the variance however pure its colour: compare concepts of like density, or read ``mean`` beside it.
        """
        n, on = int(self.all_cells), self.cells.astype(float)
        # whole numbers of any size: cells of one colour have a variance of exactly 0
        total = (n * int(self.all_square) - sum(int(s) ** 2 for s in self.all_rgb)) / max(n, 1)
        both = (on > 0) & (on < n) & (total > 0)
        on, rest = np.where(both, on, 1.0), np.where(both, n - on, 1.0)
        apart = self.rgb / on[:, None] - (self.all_rgb - self.rgb) / rest[:, None]
        # on rest / n |mean of on - mean of rest|^2 is SS_between without subtracting large sums
        between = on * rest / max(n, 1) * np.square(apart).sum(1)
        return np.where(both, np.minimum(between / (total or 1.0), 1.0), np.nan)
