"""A figure addressed in inches, on which pictures, texts and lines are put where they shall be."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from figures.style import GREY

FAINT = "#e4e7ea"


class Sheet:
    """A figure addressed in inches from its top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))
        # One frame over the whole card, whose units are inches: an axis for each picture would draw ten times slower.
        self._frame = self.figure.add_axes((0, 0, 1, 1))
        self._frame.set(xlim=(0, width), ylim=(height, 0))
        self._frame.axis("off")

    def picture(self, x: float, y: float, width: float, height: float, picture: np.ndarray, **more: Any) -> None:
        """An image [H, W, 3] or a scale [H, W] that fills the box, with its top left corner at (x, y)."""
        extent = (x, x + width, y + height, y)
        self._frame.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", **more)

    def text(self, x: float, y: float, text: str, size: float = 7.5, va: str = "top", **more: Any) -> None:
        """Text whose top is at y. A caption's dollar signs are no formula."""
        self._frame.text(x, y, text, fontsize=size, va=va, parse_math=False, **more)

    def line(self, x: float, y: float, width: float, colour: str = FAINT) -> None:
        """A thin horizontal line."""
        self._frame.plot([x, x + width], [y, y], lw=0.6, color=colour, solid_capstyle="butt")

    def patch(self, x: float, y: float, width: float, height: float, colour: Any) -> None:
        """A filled rectangle with a thin edge."""
        self._frame.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=GREY, lw=0.5))

    def box(self, x: float, y: float, width: float, height: float) -> None:
        """The edge of a rectangle."""
        self._frame.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=GREY, lw=0.8))

    def outline(self, x: float, y: float, width: float, height: float, mask: np.ndarray, colour: str) -> None:
        """The edge of a mask, bool [H, W], that fills the box."""
        rows, columns = mask.shape
        across, down = (np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows
        self._frame.contour(x + width * across, y + height * down, mask, levels=[0.5], colors=[colour], linewidths=1.2)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes of their own for a chart that fills the box."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(place)
