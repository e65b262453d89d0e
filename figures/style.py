"""One look for every picture, and PNG bytes that depend on the data alone."""

from __future__ import annotations

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
    }
)


def save(figure: Any, path: Path) -> Path:
    """Write the figure without a timestamp and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path


def bare(axis: Any, title: str = "") -> None:
    """An axis for a picture: no ticks, no frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.set_title(title, fontsize=7.5)
