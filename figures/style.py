"""One look for every picture, and PNG bytes that depend on the data alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BLUE, GREY, RED, GREEN = "#2f6db3", "#9aa3ad", "#c8553d", "#4f9d69"
COLOURS = (BLUE, RED, GREEN, GREY, "#8a63b0", "#d9a441")

plt.rcParams.update(
    {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "figure.facecolor": "white",
        "image.interpolation": "nearest",
        "text.parse_math": False,  # a caption's dollar signs are no formula
    }
)


def save(figure: Any, path: Path) -> Path:
    """Write the figure as PNG, whatever the file is called, without a timestamp, and close it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a box stands for it
            figure.savefig(path, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    finally:
        plt.close(figure)
    return path


def discard() -> None:
    """Close figures that an error has left half drawn."""
    plt.close("all")


def bare(axis: Any, title: str = "") -> None:
    """An axis for a picture: no ticks, no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title(title, fontsize=7.5)
