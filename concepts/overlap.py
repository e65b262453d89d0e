"""Exact overlap statistics between concepts and labelled masks.

With nearest upsampling a mask enters only through its number of pixels in each grid cell, so one sparse product
gives every intersection as an integer. Integer sums merge in any order: a map-reduce over images is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

FIELDS = ("n_co", "inter", "inter2", "inter_union", "union", "union2", "n_hit")


def cell_areas(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """int64 [rows * columns]: pixels of bool [H, W] in each cell. The grid must divide the image (ValueError)."""
    rows, columns = grid
    height, width = mask.shape
    if height % rows or width % columns:
        raise ValueError(f"a {rows}x{columns} grid does not divide a {height}x{width} image")
    return mask.reshape(rows, height // rows, columns, width // columns).sum((1, 3), dtype=np.int64).ravel()


def activation_map_on(values: np.ndarray, indices: np.ndarray, act_max: np.ndarray, cut: float) -> sparse.csr_array:
    """Where each concept is on in one image: bool [n_concepts, cells] from codes [cells, k].

    A concept's map is normalised by its maximum over the dictionary split and cut at ``cut`` (paper, section 3,
    which does not say by which maximum; an image's own would call its weakest flicker "on").
    """
    cells, k = values.shape
    on = (values > 0) & (values >= cut * act_max[indices])
    cell_of = np.broadcast_to(np.arange(cells)[:, None], (cells, k))
    ones = np.ones(int(on.sum()), np.int64)
    return sparse.csr_array((ones, (indices[on], cell_of[on])), shape=(len(act_max), cells))


class OverlapStats:
    """Sums over images, apart for two halves of them (even and odd prompt ids).

    Labels are picked on the even half and their IoU reported on the odd half as ``iou_heldout``: a maximum over
    hundreds of concepts is biased upwards where it was found.
    """

    def __init__(self, labels: list[str], n_concepts: int, grid: tuple[int, int], hit_iou: float = 0.5) -> None:
        self.labels, self.n, self.grid, self.hit_iou = list(labels), n_concepts, grid, hit_iou
        self._row = {label: i for i, label in enumerate(labels)}
        cells = grid[0] * grid[1]
        # [half, label, concept]; object-free int64 is exact: pixels^2 * images stays far below 2^63
        self.sums = {name: np.zeros((2, len(labels), n_concepts), np.int64) for name in FIELDS}
        self.on_pixels = np.zeros((2, n_concepts), np.int64)
        self.label_pixels = np.zeros((2, len(labels)), np.int64)
        self.on_cells = np.zeros((2, n_concepts, cells), np.int64)
        self.label_cells = np.zeros((2, len(labels), cells), np.int64)
        self.images = np.zeros(2, np.int64)

    def add(self, prompt_id: int, on: sparse.csr_array, areas: dict[str, np.ndarray], image_area: int) -> None:
        """One image: ``on`` from ``activation_map_on``, ``areas`` label -> pixels per cell."""
        half = prompt_id % 2
        cell_pixels = image_area // (self.grid[0] * self.grid[1])
        rows = [self._row[label] for label in areas]
        area_LC = np.stack(list(areas.values()))
        on_pixels = np.asarray(on.sum(1)).ravel() * cell_pixels
        self.images[half] += 1
        self.on_pixels[half] += on_pixels
        self.on_cells[half] += on.toarray()
        self.label_pixels[half, rows] += area_LC.sum(1)
        self.label_cells[half, rows] += area_LC
        active = np.flatnonzero(on_pixels)
        inter = (on[active] @ area_LC.T).T  # [labels, active concepts]
        self._accumulate(half, rows, active, inter, area_LC.sum(1)[:, None] + on_pixels[active] - inter)

    def _accumulate(self, half: int, rows: list[int], active: np.ndarray, inter: np.ndarray, union: np.ndarray) -> None:
        """Only images where concept and label are both on enter the pooled IoU (co-present IoU)."""
        at = np.ix_(np.array([half]), np.array(rows), active)
        union = np.maximum(union, 1)
        terms = {
            "n_co": np.ones_like(inter),
            "inter": inter,
            "inter2": inter**2,
            "inter_union": inter * union,
            "union": union,
            "union2": union**2,
            "n_hit": (inter > self.hit_iou * union).astype(np.int64),
        }
        for name, value in terms.items():
            self.sums[name][at] += value[None]

    def merge(self, other: OverlapStats) -> None:
        """Add another's sums; both must have the same labels and concepts (ValueError)."""
        if (self.labels, self.n, self.grid) != (other.labels, other.n, other.grid):
            raise ValueError("only statistics over the same labels, concepts and grid can be merged")
        for name in FIELDS:
            self.sums[name] += other.sums[name]
        for name in ("on_pixels", "label_pixels", "on_cells", "label_cells", "images"):
            getattr(self, name).__iadd__(getattr(other, name))

    def rows(self) -> list[dict[str, Any]]:
        """One row for each (concept, label) whose maps ever touched, sorted by (cid, label)."""
        total = {name: value.sum(0) for name, value in self.sums.items()}
        even = _iou(self.sums["inter"][0], self.sums["union"][0])
        odd = _iou(self.sums["inter"][1], self.sums["union"][1])
        both = _iou(total["inter"], total["union"])
        error = iou_standard_error(total)
        chance = self._chance_intersection()
        found = []
        for label, cid in np.argwhere(total["inter"] > 0):
            inter = int(total["inter"][label, cid])
            has_odd = self.sums["union"][1, label, cid] > 0
            found.append(
                {
                    "cid": int(cid),
                    "label": self.labels[label],
                    "iou": float(both[label, cid]),
                    "iou_se": float(error[label, cid]),
                    "iou_selection": float(even[label, cid]),
                    "iou_heldout": float(odd[label, cid]) if has_odd else None,
                    "precision": inter / int(self.on_pixels.sum(0)[cid]),
                    "recall": inter / int(self.label_pixels.sum(0)[label]),
                    "lift": inter / chance[label, cid] if chance[label, cid] > 0 else None,
                    "n_co": int(total["n_co"][label, cid]),
                    "n_hit50": int(total["n_hit"][label, cid]),
                }
            )
        return sorted(found, key=lambda row: (row["cid"], row["label"]))

    def _chance_intersection(self) -> np.ndarray:
        """Intersection expected if concept and label were independent given position: sum_p on(p) label(p) / N."""
        images = max(int(self.images.sum()), 1)
        return self.label_cells.sum(0) @ self.on_cells.sum(0).T / images


def _iou(inter: np.ndarray, union: np.ndarray) -> np.ndarray:
    return inter / np.maximum(union, 1)


def iou_standard_error(sums: dict[str, np.ndarray]) -> np.ndarray:
    """Delta-method standard error of the pooled IoU S(I) / S(U), images as the sampling unit."""
    iou = _iou(sums["inter"], sums["union"])
    square = sums["inter2"] - 2 * iou * sums["inter_union"] + iou**2 * sums["union2"]
    return np.sqrt(np.maximum(square, 0.0)) / np.maximum(sums["union"], 1)
