"""What edits do against what they cost: success beside each measure of damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from figures.draw import looks_of
from figures.style import in_our_style, panels, save

MEASURES = {  # columns of ``intervention_effects``; the cost grows to the right
    "layout_iou": "places kept\n(IoU of masks)",
    "fidelity_lost": "things lost\n(share of the caption's)",
    "off_distribution": "distance from usual activations\n(times the unedited run's)",
}
MARKERS = "osD^vP"


@in_our_style
def edit_damage(rows: list[dict[str, Any]], windows: list[str], path: Path) -> Path:
    """A point for each (kind, window, control) of rows with success, ``MEASURES`` and the ends of their intervals.

    A row of panels a kind, one a measure; a colour a control, a marker a window. A measure that is None has no point.
    """
    kinds = [kind for kind in ("spatial", "global") if any(r["kind"] == kind for r in rows)]
    looks = looks_of(rows)
    figure, axes = panels(len(kinds), len(MEASURES), figsize=(8.4, 2.5 * len(kinds) + 0.4), sharex="col", sharey=True)
    for of_kind, kind in zip(axes, kinds, strict=True):
        for axis, name in zip(of_kind, MEASURES, strict=True):
            for row in (r for r in rows if r["kind"] == kind and r[name] is not None):
                marker = MARKERS[windows.index(row["window"]) % len(MARKERS)]
                _point(axis, row, name, looks[row["control"]][1], marker)
        of_kind[0].set_ylabel(f"success of {kind} edits")
    for axis, (name, called) in zip(axes[-1], MEASURES.items(), strict=True):
        axis.set_xlabel(called)
        _scale(axis, name)
    axes[0, 0].set_ylim(-0.03, 1.03)
    lines = [Line2D([], [], ls="", marker="o", color=colour, label=called) for called, colour in looks.values()]
    lines += [
        Line2D([], [], ls="", marker=MARKERS[i % len(MARKERS)], mfc="none", color="black", label=window)
        for i, window in enumerate(windows)
    ]
    figure.legend(handles=lines, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    figure.tight_layout()
    return save(figure, path)


def _point(axis: Any, row: dict[str, Any], name: str, colour: str, marker: str) -> None:
    """With bars as far as the intervals reach; none where there is no interval."""
    reach = [_reach(row, of) for of in (name, "success")]
    style = {"fmt": marker, "ms": 5, "lw": 0.9, "color": colour, "mfc": "white", "mew": 1.4}
    axis.errorbar(row[name], row["success"], xerr=reach[0], yerr=reach[1], **style)


def _reach(row: dict[str, Any], name: str) -> np.ndarray:
    """[2, 1]: below and above."""
    ends = np.array([row[f"{name}_ci_low"], row[f"{name}_ci_high"]], float)
    return np.nan_to_num(np.maximum((ends - row[name]) * [-1, 1], 0))[:, None]


def _scale(axis: Any, name: str) -> None:
    if name == "layout_iou":
        axis.set_xlim(max(axis.get_xlim()), min(axis.get_xlim()))  # what is kept falls to the right
    elif name == "off_distribution":
        axis.set_xscale("log")
        for of in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            of(FuncFormatter(_whole))


def _whole(value: float, _place: int) -> str:
    """Of a logarithmic axis the numbers that begin with 1, 2 or 5."""
    plain = f"{value:g}"
    return plain if plain.strip("0.") in ("1", "2", "5") else ""
