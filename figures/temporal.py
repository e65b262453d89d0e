"""Pictures of the temporal atlas: success against onset, and what single blocks carry of another caption."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from figures.style import BLUE, GREEN, GREY, RED, in_our_style, panels, save

CONTROLS = {
    "none": ("by concepts", BLUE),
    "switched_prompt": ("prompt switched", GREEN),
    "random_direction": ("random direction", RED),
}
Row = dict[str, Any]
Rows = list[Row]
TITLES = {"spatial": "an object beside where it lies", "global": "a look", "switch": "caption read", "patch": "updates"}


@in_our_style
def onset_curves(rows: Rows, halves: Mapping[tuple[float, str, str], Row], path: Path) -> Path:
    """Success of {length, kind, control, onset, success, low, high}, with bands: a row a length, longest first.

    ``halves``: (length, kind, control) -> row of tau50. Controls that are not named here share one colour.
    """
    kinds = [kind for kind in ("spatial", "global") if any(r["kind"] == kind for r in rows)]
    lengths = sorted({r["length"] for r in rows}, reverse=True)
    size = (3.6 * len(kinds), 0.4 + 2.5 * len(lengths))
    figure, axes = panels(len(lengths), len(kinds), figsize=size, sharex=True, sharey=True)
    for (at, kind), axis in zip(product(enumerate(lengths), kinds), axes.flat, strict=True):
        of_panel = [r for r in rows if (r["length"], r["kind"]) == (at[1], kind)]
        for control in dict.fromkeys(r["control"] for r in of_panel):
            line = sorted((r for r in of_panel if r["control"] == control), key=lambda r: -r["onset"])
            _curve(axis, control, line, halves.get((at[1], kind, control)))
        axis.set_title(f"{TITLES[kind]}, edits of {at[1]:g}" if at[0] == 0 else f"edits of {at[1]:g}")
        axis.set_ylim(0, 1)
    axes[0, 0].set_xlim(1.03, -0.03)
    for axis in axes[-1]:
        axis.set_xlabel("onset of the edit, t (1 = noise)")
    for axis in axes[:, 0]:
        axis.set_ylabel("success\n(dashed: half of the peak,\n95 % intervals)")
    axes[0, -1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, path)


def _curve(axis: Any, control: str, line: Rows, half: Row | None) -> None:
    name, colour = CONTROLS.get(control, (control.replace("_", " "), GREY))
    onsets = [r["onset"] for r in line]
    axis.plot(onsets, [r["success"] for r in line], "-o", ms=3, color=colour, label=name)
    low, high = ([r[end] for r in line] for end in ("low", "high"))
    axis.fill_between(onsets, low, high, color=colour, alpha=0.15, lw=0)
    if half is not None and half["never"] < 0.5:  # one that does not halve has no place to mark
        axis.axvspan(half["tau50_ci_low"], half["tau50_ci_high"], color=colour, alpha=0.12, lw=0)
        axis.axvline(half["tau50"], color=colour, lw=0.9, ls="--")


@in_our_style
def layout_over_time(rows: Rows, path: Path) -> Path:
    """A layout's IoU beyond a baseline, {conditioning, block, t, iou, iou_ci_low, iou_ci_high}: a line a block.

    A panel for each half of guidance; blocks have the colours of their order in the rows.
    """
    halves, blocks = (list(dict.fromkeys(r[name] for r in rows)) for name in ("conditioning", "block"))
    figure, axes = panels(1, len(halves), figsize=(3.6 * len(halves), 2.9), sharex=True, sharey=True)
    colours = colormaps["viridis"](np.linspace(0, 0.92, len(blocks)))
    for axis, half in zip(axes[0], halves, strict=True):
        axis.axhline(0, color=GREY, lw=0.8)
        for block, colour in zip(blocks, colours, strict=True):
            line = sorted((r for r in rows if (r["conditioning"], r["block"]) == (half, block)), key=lambda r: -r["t"])
            times, iou, low, high = ([r[n] for r in line] for n in ("t", "iou", "iou_ci_low", "iou_ci_high"))
            axis.plot(times, iou, "-o", ms=2.5, lw=1.1, color=colour, label=block)
            axis.fill_between(times, low, high, color=colour, alpha=0.12, lw=0)
        axis.set_title(half)
        axis.set_xlabel("t (1 = noise)")
    axes[0, 0].invert_xaxis()
    axes[0, 0].set_ylabel("IoU beyond the baseline\n(95 % intervals)")
    axes[0, -1].legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return save(figure, path)


@in_our_style
def causal_traces(rows: Rows, windows: list[str], path: Path) -> Path:
    """Cells of {method, kind, blocks, window, share of the other caption's effect}; a panel a method and kind."""
    groups = list(dict.fromkeys((r["kind"], r["method"]) for r in rows))
    blocks = list(dict.fromkeys(r["blocks"] for r in rows))
    figure, axes = panels(1, len(groups), figsize=(1.9 * len(groups) + 1.5, 0.3 * len(blocks) + 0.9), sharey=True)
    for axis, (kind, method) in zip(axes[0], groups, strict=True):
        share = np.full((len(blocks), len(windows)), np.nan)
        for r in rows:
            if (r["kind"], r["method"]) == (kind, method):
                share[blocks.index(r["blocks"]), windows.index(r["window"])] = r["share"]
        axis.imshow(share, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        for (row, column), value in np.ndenumerate(share):
            if np.isfinite(value):
                axis.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=_ink(value))
        axis.set_xticks(range(len(windows)), windows, fontsize=7)
        axis.set_yticks(range(len(blocks)), blocks, fontsize=7)
        axis.set_title(f"{TITLES[kind] if kind == 'global' else 'another object'}: {TITLES[method]}")
    return save(figure, path)


def _ink(value: float) -> str:
    return "white" if value > 0.6 else "black"
