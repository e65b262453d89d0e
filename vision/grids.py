"""Images and masks on a grid of cells: names, mean colours, and areas without the cells that hold none."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Grid = tuple[int, int]  # rows, columns


class FilledCells(NamedTuple):
    """Where a mask is: numbers of the cells that hold any of it, rising, and its pixels in each."""

    cells: list[int]
    pixels: list[int]


def grid_name(grid: Grid) -> str:
    """How tables write a grid: rows x columns."""
    return f"{grid[0]}x{grid[1]}"


def divides(grid: Grid, size: tuple[int, int]) -> bool:
    """Whether all cells of an image of (height, width) pixels are whole and equal."""
    return size[0] % grid[0] == 0 and size[1] % grid[1] == 0


def mean_colours(image: np.ndarray, grid: Grid) -> np.ndarray:
    """uint8 [cells, 3]: the mean of uint8 [H, W, 3] over each cell of a grid that divides it, halves rounded up."""
    (rows, columns), (height, width, _) = grid, image.shape
    pixels = (height // rows) * (width // columns)
    sums = image.reshape(rows, height // rows, columns, width // columns, 3).sum((1, 3), dtype=np.int64)
    return ((2 * sums + pixels) // (2 * pixels)).astype(np.uint8).reshape(-1, 3)


def filled_cells(area: np.ndarray) -> FilledCells:
    """Of a mask's pixels in each cell, integers [cells]."""
    filled = np.flatnonzero(area)
    return FilledCells(filled.tolist(), area[filled].tolist())


def area_of(cells: np.ndarray, pixels: np.ndarray, grid: Grid) -> np.ndarray:
    """int64 [cells]: pixels in each cell of the grid, from those of the cells that hold any."""
    area = np.zeros(grid[0] * grid[1], np.int64)
    area[cells] = pixels
    return area
