"""The direction that knowing the label gives: the supervised reference of an edit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from concepts.errors import ConceptError


class MeanDifference:
    """Mean update of cells that a label covers by half or more, less the mean of all others; float64 sums."""

    def __init__(self, width: int) -> None:
        self._sums, self._counts = np.zeros((2, width)), np.zeros(2, np.int64)

    def add(self, maps: np.ndarray, areas: Sequence[np.ndarray | None], cell_pixels: float) -> None:
        """``maps`` [I, rows, columns, D]; of each image the label's pixels a cell [cells], or None."""
        for x, pixels in zip(maps.reshape(len(maps), -1, maps.shape[-1]).astype(np.float64), areas, strict=True):
            on = np.zeros(len(x), bool) if pixels is None else pixels >= cell_pixels / 2
            for place, cells in enumerate((~on, on)):
                self._sums[place] += x[cells].sum(0)
                self._counts[place] += int(cells.sum())

    def direction(self, label: str) -> np.ndarray:
        """Unit vector float64 [D]. Raises ``ConceptError`` where the label is in no cell, or in every one."""
        if not self._counts.all():
            raise ConceptError(f"label {label!r} is in no cell of the dictionary split, or in all: no mean difference")
        means = self._sums / self._counts[:, None]
        difference = means[1] - means[0]
        return np.asarray(difference / max(float(np.linalg.norm(difference)), 1e-12))
