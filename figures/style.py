"""One look for every picture, and PNG bytes that depend on the data alone.

Neither pyplot nor the settings of the process are touched: a notebook that draws a concept's card keeps its own.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

P = ParamSpec("P")
R = TypeVar("R")
BLUE, GREY, RED, GREEN = "#2f6db3", "#9aa3ad", "#c8553d", "#4f9d69"
COLOURS = (BLUE, RED, GREEN, GREY, "#8a63b0", "#d9a441", "#1b8a8f", "#c26aa0", "#6b5b3e", "#14213d")
DPI = 110
MARGIN = 0.1  # inches, matplotlib's own
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.facecolor": "white",
    "image.interpolation": "nearest",
    "text.parse_math": False,  # a caption's dollar signs are no formula
}


def in_our_style(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw in ``STYLE`` upon matplotlib's defaults, whatever the process has set; then it is as it was."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return drawn


def panels(rows: int, columns: int, figsize: tuple[float, float], **more: Any) -> tuple[Figure, Any]:
    """A figure, size in inches, and its axes [rows, columns]; ``more`` goes to ``Figure.subplots``."""
    figure = Figure(figsize=figsize)
    return figure, figure.subplots(rows, columns, squeeze=False, **more)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, whatever the file is called, without a timestamp."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
        figure.savefig(path, format="png", dpi=DPI, bbox_inches=_frame(figure), metadata={"Software": None})
    return path


def _frame(figure: Figure) -> Bbox:
    """What is drawn, in inches, and a margin: the frame that ``tight`` finds, which draws all once more for that."""
    figure.set_dpi(DPI)
    return figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer()).padded(MARGIN)
