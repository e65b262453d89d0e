"""The best IoU that a set of grid cells can reach with a mask: what a coarse block is judged against."""

from __future__ import annotations

import numpy as np

from vision.grids import Grid, divides


def iou_ceiling(mask: np.ndarray, grid: Grid) -> float:
    """Largest IoU of bool [H, W] with any union of cells of a (rows, columns) grid.

    Adding cells in order of falling occupancy and keeping the best prefix is exact: for a set of any size, swapping
    a cell for a fuller one raises the intersection and lowers the union. Cells have equal areas only if the grid
    divides the image, which is required (ValueError).
    """
    rows, columns = grid
    height, width = mask.shape
    if not divides(grid, (height, width)):
        raise ValueError(f"a {rows}x{columns} grid does not divide a {height}x{width} image")
    area = int(mask.sum())
    if not area:
        return 0.0
    cells = mask.reshape(rows, height // rows, columns, width // columns).sum((1, 3)).ravel()
    inside = np.cumsum(np.sort(cells)[::-1])
    chosen = np.arange(1, len(inside) + 1) * (mask.size // len(inside))
    return float((inside / (chosen + area - inside)).max())
