"""What the initial noise of an image offers to a probe: values around each cell of a grid."""

from __future__ import annotations

import numpy as np

from concepts.errors import ConceptError


def on_grid(noise_ILhw: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Noise [I, L, h, w] on a grid's cells, [I, L, rows, columns]: means over what lies in each, scaled to variance 1.

    Raises ``ConceptError`` unless the grid's cells tile the latent.
    """
    images, channels, height, width = noise_ILhw.shape
    rows, columns = grid
    if height % rows or width % columns:
        raise ConceptError(
            f"a grid of {rows} x {columns} cells does not tile the latent of {height} x {width} values: choose a block "
            "of sites.blocks that works on a coarser grid"
        )
    down, across = height // rows, width // columns
    tiled = noise_ILhw.reshape(images, channels, rows, down, columns, across)
    return tiled.mean((3, 5)) * np.sqrt(down * across)


def neighbourhoods(noise_ILHW: np.ndarray) -> np.ndarray:
    """Of noise on a grid, [I, L, rows, columns], the values around each cell, [I, cells, features].

    An eighth of the grid to each side, at least one cell: 3 x 3 cells of an 8 x 8 grid, 5 x 5 of 16 x 16. Beyond the
    image all is 0, the mean of the noise.
    """
    images, _, rows, columns = noise_ILHW.shape
    reach = max(1, max(rows, columns) // 8)
    padded = np.pad(noise_ILHW, ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    shifts = range(2 * reach + 1)
    around = [padded[:, :, down : down + rows, across : across + columns] for down in shifts for across in shifts]
    return np.concatenate(around, axis=1).transpose(0, 2, 3, 1).reshape(images, rows * columns, -1)
