"""Where an edit acts: names, boxes, polygons and pictures, as a share of each pixel and of each cell of a grid."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from concepts.cases import EVERYWHERE
from concepts.errors import ConceptError

# Name -> (top, left, bottom, right), as parts of the height and the width.
NAMED: dict[str, tuple[float, float, float, float]] = {
    EVERYWHERE: (0.0, 0.0, 1.0, 1.0),
    "top": (0.0, 0.0, 0.5, 1.0),
    "bottom": (0.5, 0.0, 1.0, 1.0),
    "left": (0.0, 0.0, 1.0, 0.5),
    "right": (0.0, 0.5, 1.0, 1.0),
    "top_left": (0.0, 0.0, 0.5, 0.5),
    "top_right": (0.0, 0.5, 0.5, 1.0),
    "bottom_left": (0.5, 0.0, 1.0, 0.5),
    "bottom_right": (0.5, 0.5, 1.0, 1.0),
    "centre": (0.25, 0.25, 0.75, 0.75),
}
GIVEN = (
    f"one of {', '.join(NAMED)}; box:LEFT,TOP,RIGHT,BOTTOM or polygon:X,Y X,Y X,Y ... in parts of the image; "
    "cells:ROWSxCOLUMNS:HEX, a bit a cell; or a PNG"
)
MOST_CELLS = 64  # each way: finer than the grid of any block that is edited
CELLS = re.compile(r"(\d{1,3})x(\d{1,3}):([0-9a-f]+)")
FINER = 8  # samples a pixel, each way, of the edge of a polygon


def region_share(region: str, height: int, width: int, feather: float = 0.0) -> np.ndarray:
    """float64 [height, width] in [0, 1]: how much of the region there is at each pixel.

    ``region``: a name of ``NAMED``; ``box:left,top,right,bottom`` and ``polygon:x,y x,y x,y ...`` in parts of the width
    and the height; ``cells:4x4:8421``, a grid over the image whose cells are on or off, row by row from the highest bit
    of the hexadecimal number, the last digit filled up with 0; or the path of an image of that size, white where the
    edit acts. ``feather``: standard deviation in pixels of the Gaussian that softens the edge. Raises ``ConceptError``
    for any other, and for a region that is empty.
    """
    if not (np.isfinite(feather) and feather >= 0):
        raise ConceptError(f"feather is {feather}: give the width of the soft edge in pixels, 0 or more")
    share = _share(region, height, width)
    if share.max() <= 0:
        raise ConceptError(f"region {region!r} holds no pixel of a {width} x {height} image: give a larger one")
    return gaussian_filter(share, feather, mode="nearest") if feather else share


def cell_share(share_HW: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """float64 [rows, columns]: the mean share of each cell's pixels. ``ConceptError`` for a grid that does not fit."""
    (height, width), (rows, columns) = share_HW.shape, grid
    if height % rows or width % columns:
        raise ConceptError(f"a grid of {rows} x {columns} does not divide an image of {height} x {width} pixels")
    return share_HW.reshape(rows, height // rows, columns, width // columns).mean((1, 3))


def _share(region: str, height: int, width: int) -> np.ndarray:
    if region in NAMED:
        return _box(*NAMED[region], height, width)
    kind, _, numbers = region.partition(":")
    if kind == "box" and numbers:
        left, top, right, bottom = _numbers(region, numbers, 4)
        if left >= right or top >= bottom:
            raise ConceptError(f"region {region!r} is empty: a box is LEFT,TOP,RIGHT,BOTTOM, left before right")
        return _box(top, left, bottom, right, height, width)
    if kind == "polygon" and numbers:
        return _polygon(region, numbers, height, width)
    if kind == "cells" and numbers:
        return _cells(region, numbers, height, width)
    return _picture(region, height, width)


def _cells(region: str, text: str, height: int, width: int) -> np.ndarray:
    """Each pixel by how much of it lies in cells that are on."""
    read = CELLS.fullmatch(text.lower())
    rows, columns, digits = (int(read[1]), int(read[2]), read[3]) if read else (0, 0, "")
    if not (0 < rows <= MOST_CELLS and 0 < columns <= MOST_CELLS) or len(digits) != -(-rows * columns // 4):
        raise ConceptError(
            f"region {region[:40]!r} cannot be read: cells are ROWSxCOLUMNS:HEX, at most {MOST_CELLS} each way, and a "
            "digit of HEX says of four cells which are on"
        )
    bits = [int(bit) for digit in digits for bit in f"{int(digit, 16):04b}"]
    on_RC = np.array(bits[: rows * columns], float).reshape(rows, columns)
    return _covered(height, rows) @ on_RC @ _covered(width, columns).T


def _covered(pixels: int, cells: int) -> np.ndarray:
    """[pixels, cells]: how much of each pixel each of so many equal cells covers."""
    edges, starts = np.linspace(0, pixels, cells + 1), np.arange(pixels)[:, None]
    return (np.minimum(starts + 1, edges[1:]) - np.maximum(starts, edges[:-1])).clip(0, 1)


def _numbers(region: str, text: str, count: int | None) -> list[float]:
    parts = [part for part in re.split(r"[,\s]+", text.strip()) if part]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    inside = all(0.0 <= number <= 1.0 for number in numbers)  # False for nan
    if not numbers or not inside or (count is not None and len(numbers) != count):
        raise ConceptError(f"region {region!r} cannot be read: give {GIVEN}")
    return numbers


def _box(top: float, left: float, bottom: float, right: float, height: int, width: int) -> np.ndarray:
    """Each pixel by how much of it the box covers."""
    rows, columns = np.arange(height), np.arange(width)
    covered_rows = (np.minimum(rows + 1, bottom * height) - np.maximum(rows, top * height)).clip(0, 1)
    covered_columns = (np.minimum(columns + 1, right * width) - np.maximum(columns, left * width)).clip(0, 1)
    return np.outer(covered_rows, covered_columns)


def _polygon(region: str, text: str, height: int, width: int) -> np.ndarray:
    numbers = _numbers(region, text, None)
    if len(numbers) % 2 or len(numbers) < 6:
        raise ConceptError(f"region {region!r} is no polygon: give three corners X,Y or more, in parts of the image")
    points = [
        (x * width * FINER - 0.5, y * height * FINER - 0.5) for x, y in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    drawn = Image.new("1", (width * FINER, height * FINER))
    ImageDraw.Draw(drawn).polygon(points, fill=1)
    return np.asarray(drawn, float).reshape(height, FINER, width, FINER).mean((1, 3))


def _picture(region: str, height: int, width: int) -> np.ndarray:
    if not Path(region).is_file():
        raise ConceptError(f"region {region!r} is neither a file nor {GIVEN}")
    try:
        with Image.open(region) as image:
            grey = np.asarray(image.convert("L"), float) / 255
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConceptError(f"region {region} cannot be read as an image ({error}): give a PNG") from error
    if grey.shape != (height, width):
        raise ConceptError(
            f"region {region} is {grey.shape[1]} x {grey.shape[0]} pixels, the study's images are {width} x {height}: "
            "give a mask of their size"
        )
    return grey
