"""How well concepts detect their labels against how far they bring them about: a point a concept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from figures.style import BLUE, GREY, in_our_style, panels, save

SURE = 0.05  # q below which a cause is told from random directions


@in_our_style
def detecting_and_causing(rows: list[dict[str, Any]], windows: list[str], path: Path) -> Path:
    """Of rows with ``kind``, ``window``, ``iou_heldout`` (detects), ``above_random`` (causes), its ends and ``q``.

    A row of panels a kind, a panel a window. Blue are concepts that bring their label about, by ``q``; of them the bars
    are drawn, since those of hundreds of others would hide everything. A concept without one of the two has no point.
    """
    kinds = [kind for kind in ("spatial", "global") if any(r["kind"] == kind for r in rows)]
    figure, axes = panels(len(kinds), len(windows), figsize=(2.7 * len(windows) + 0.6, 2.4 * len(kinds) + 0.3))
    for of_kind, kind in zip(axes, kinds, strict=True):
        for axis, window in zip(of_kind, windows, strict=True):
            _panel(axis, [r for r in rows if r["kind"] == kind and r["window"] == window])
            axis.set_title(f"{kind}, {window}")
        _alike(of_kind)
        of_kind[0].set_ylabel("causes\n(above random directions)")
    for axis in axes[-1]:
        axis.set_xlabel("detects (held-out IoU)")
    figure.tight_layout()
    return save(figure, path)


def _panel(axis: Any, rows: list[dict[str, Any]]) -> None:
    known = [r for r in rows if r["iou_heldout"] is not None and r["above_random"] is not None]
    sure = [r for r in known if r["above_random"] > 0 and r["q"] is not None and r["q"] < SURE]
    axis.axhline(0, color=GREY, lw=0.8)
    _points(axis, [r for r in known if r not in sure], GREY)
    _points(axis, sure, BLUE)
    if sure:
        ends = np.array([[r["above_random_ci_low"], r["above_random_ci_high"]] for r in sure], float)
        middle = np.array([r["above_random"] for r in sure])[:, None]
        reach = np.nan_to_num(np.maximum((ends - middle) * [-1, 1], 0)).T
        axis.errorbar(*_places(sure), yerr=reach, fmt="none", color=BLUE, lw=0.9)
    axis.text(0.98, 0.97, f"{len(sure)} of {len(known)}", transform=axis.transAxes, ha="right", va="top", fontsize=8)


def _points(axis: Any, rows: list[dict[str, Any]], colour: str) -> None:
    axis.scatter(*_places(rows), s=14, facecolors="white", edgecolors=colour, linewidths=1.1)


def _places(rows: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [r["iou_heldout"] for r in rows], [r["above_random"] for r in rows]


def _alike(axes: Any) -> None:
    """One scale for all windows of a kind, so that they can be compared."""
    across, up = ([getattr(axis, name)() for axis in axes] for name in ("get_xlim", "get_ylim"))
    for axis in axes:
        axis.set_xlim(min(0.0, *(low for low, _ in across)), max(high for _, high in across))
        axis.set_ylim(min(low for low, _ in up), max(high for _, high in up))
