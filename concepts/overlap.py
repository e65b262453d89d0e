"""Exact overlap statistics between concepts and labelled masks.

With nearest upsampling a mask enters only through its number of pixels in each grid cell, so one sparse product
gives every intersection as an integer. Integer sums merge in any order: a map-reduce over images is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

# Sums over the images where concept and label are both on, for each (label, concept) pair.
PAIR_SUMS = ("n_co", "n_hit", "inter", "inter2", "inter_on", "inter_label", "on_label", "union_co")


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

    ``iou`` is pooled over *all* images, so that a concept which fires everywhere pays for every image without the
    label; ``iou_copresent`` only over images where both are on, since a missing detection is no annotated absence.
    """

    def __init__(self, labels: list[str], n_concepts: int, grid: tuple[int, int], hit_iou: float = 0.5) -> None:
        self.labels, self.n, self.grid, self.hit_iou = list(labels), n_concepts, grid, hit_iou
        self._row = {label: i for i, label in enumerate(labels)}
        cells = grid[0] * grid[1]
        # [half, label, concept]; int64 is exact: squared pixels of 40,000 images of 512 px stay below 2^53
        self.pairs = {name: np.zeros((2, len(labels), n_concepts), np.int64) for name in PAIR_SUMS}
        self.on, self.on2 = np.zeros((2, n_concepts), np.int64), np.zeros((2, n_concepts), np.int64)
        self.label, self.label2 = np.zeros((2, len(labels)), np.int64), np.zeros((2, len(labels)), np.int64)
        self.on_cells = np.zeros((2, n_concepts, cells), np.int64)
        self.label_cells = np.zeros((2, len(labels), cells), np.int64)
        self.images = np.zeros(2, np.int64)

    def add(self, prompt_id: int, on: sparse.csr_array, areas: dict[str, np.ndarray], image_area: int) -> None:
        """One image: ``on`` from ``activation_map_on``, ``areas`` label -> pixels per cell (none is fine)."""
        half = prompt_id % 2
        on_pixels = np.asarray(on.sum(1)).ravel() * (image_area // (self.grid[0] * self.grid[1]))
        self.images[half] += 1
        self.on[half] += on_pixels
        self.on2[half] += on_pixels**2
        self.on_cells[half] += on.toarray()
        if not areas:
            return
        rows = [self._row[label] for label in areas]
        area_LC = np.stack(list(areas.values()))
        label_pixels = area_LC.sum(1)
        self.label[half, rows] += label_pixels
        self.label2[half, rows] += label_pixels**2
        self.label_cells[half, rows] += area_LC
        active = np.flatnonzero(on_pixels)
        inter = (on[active] @ area_LC.T).T  # [labels, active concepts]
        self._add_pairs(half, rows, active, inter, on_pixels[active][None, :], label_pixels[:, None])

    def _add_pairs(
        self, half: int, rows: list[int], active: np.ndarray, inter: np.ndarray, on: np.ndarray, label: np.ndarray
    ) -> None:
        union = on + label - inter
        terms = {
            "n_co": np.ones_like(inter),
            "n_hit": (inter > self.hit_iou * union).astype(np.int64),
            "inter": inter,
            "inter2": inter**2,
            "inter_on": inter * on,
            "inter_label": inter * label,
            "on_label": on * label,
            "union_co": union,
        }
        at = np.ix_(np.array([half]), np.array(rows), active)
        for name, value in terms.items():
            self.pairs[name][at] += value[None]

    def merge(self, other: OverlapStats) -> None:
        """Add another's sums; both must have the same labels and concepts (ValueError)."""
        if (self.labels, self.n, self.grid) != (other.labels, other.n, other.grid):
            raise ValueError("only statistics over the same labels, concepts and grid can be merged")
        for name in PAIR_SUMS:
            self.pairs[name] += other.pairs[name]
        for name in ("on", "on2", "label", "label2", "on_cells", "label_cells", "images"):
            getattr(self, name).__iadd__(getattr(other, name))

    def iou(self, halves: tuple[int, ...] = (0, 1)) -> tuple[np.ndarray, np.ndarray]:
        """Pooled IoU S(I) / S(U) over all images of the halves, and its standard error; both [labels, concepts].

        The error is the delta method's with images as the sampling unit, from sums alone: U = on + label - I, and
        products with I or of both vanish where either is off.
        """
        which = list(halves)
        pair = {name: value[which].sum(0) for name, value in self.pairs.items()}
        on, on2 = self.on[which].sum(0)[None, :], self.on2[which].sum(0)[None, :]
        label, label2 = self.label[which].sum(0)[:, None], self.label2[which].sum(0)[:, None]
        union = np.maximum(on + label - pair["inter"], 1)
        inter_union = pair["inter_on"] + pair["inter_label"] - pair["inter2"]
        union2 = on2 + label2 + 2 * pair["on_label"] - 2 * (pair["inter_on"] + pair["inter_label"]) + pair["inter2"]
        iou = pair["inter"] / union
        square = pair["inter2"] - 2 * iou * inter_union + iou**2 * union2
        return iou, np.sqrt(np.maximum(square, 0.0)) / union

    def rows(self) -> list[dict[str, Any]]:
        """One row for each (concept, label) whose maps ever touched, sorted by (cid, label).

        ``iou_selection`` and ``se_selection`` are of the half that labels are picked on; ``assign`` uses them up.
        """
        pair = {name: value.sum(0) for name, value in self.pairs.items()}
        (iou, error), (selection, selection_error), (heldout, _) = self.iou(), self.iou((0,)), self.iou((1,))
        on, label_pixels, chance = self.on.sum(0), self.label.sum(0), self._chance_intersection()
        found = []
        for cid, label in np.argwhere(pair["inter"].T > 0):
            at, inter = (label, cid), int(pair["inter"][label, cid])
            found.append(
                {
                    "cid": int(cid),
                    "label": self.labels[label],
                    "iou": float(iou[at]),
                    "iou_se": float(error[at]),
                    "iou_selection": float(selection[at]),
                    "se_selection": float(selection_error[at]),
                    "iou_heldout": float(heldout[at]) if self.images[1] else None,
                    "iou_copresent": inter / int(pair["union_co"][at]),
                    "precision": inter / int(on[cid]),
                    "recall": inter / int(label_pixels[label]),
                    "lift": inter / chance[at] if chance[at] > 0 else None,
                    "n_co": int(pair["n_co"][at]),
                    "n_hit50": int(pair["n_hit"][at]),
                }
            )
        return sorted(found, key=lambda row: (row["cid"], row["label"]))

    def _chance_intersection(self) -> np.ndarray:
        """Intersection expected if concept and label were independent given position: sum_p on(p) label(p) / N."""
        images = max(int(self.images.sum()), 1)
        return self.label_cells.sum(0) @ self.on_cells.sum(0).T / images
