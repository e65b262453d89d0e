"""The study's charts: what was measured, over time and with its intervals."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from figures.style import BLUE, COLOURS, GREY, RED, in_our_style, panels, save

UNEDITED = "unedited"
CONTROLS = {  # of the column ``control``: what it is called, and its colour
    "none": ("by concepts", BLUE),
    "random_direction": ("random direction", RED),
    UNEDITED: ("unedited", GREY),
}
CONTROL_STYLES = {"frozen": "-.+", "soft_frozen": "-.^", "frozen_encoder": ":d", "untrained": ":x"}
KIND_STYLES = {"trained": "-o", "shared": "--s", **CONTROL_STYLES}
LAYOUT_METHODS = ("concepts", "evidence", "posterior", "position", "noise", "raw")  # no more than colours


@in_our_style
def explained_variance(rows: list[dict[str, Any]], path: Path) -> Path:
    """Held-out explained variance of {block, t, conditioning, k, kind, explained_variance}, controls beside it."""
    names = sorted({(r["conditioning"], r["block"]) for r in rows})
    ks = sorted({r["k"] for r in rows})
    figure, axes = panels(1, len(names), figsize=(2.2 * len(names), 2.6), sharey=True)
    for axis, (conditioning, block) in zip(axes[0], names, strict=True):
        for i, k in enumerate(ks):
            for kind, style in KIND_STYLES.items():
                line = sorted(
                    (r["t"], 100 * r["explained_variance"])
                    for r in rows
                    if (r["conditioning"], r["block"], r["k"], r["kind"]) == (conditioning, block, k, kind)
                )
                colour = GREY if kind in CONTROL_STYLES else COLOURS[i % len(COLOURS)]
                if line:
                    axis.plot(*zip(*line, strict=True), style, color=colour, ms=4, label=f"k={k}, {kind}")
        axis.set_title(f"{conditioning} {block}")
        axis.set_xlabel("t (1 = noise)")
        axis.invert_xaxis()
        axis.set_ylim(min(0, axis.get_ylim()[0]), 100)
    axes[0, 0].set_ylabel("explained variance, %")
    _legend(axes[0, -1], 6.5)
    return save(figure, path)


CURVES = {  # of the rows of ``sae_curves``: what each is called on its axis
    "explained_variance": "explained variance, held out (%)",
    "dead_fraction": "dead latents, held out (%)",
    "init_cosine": "cosine to own start",
    "stability": "stability between seeds (cosine)",
}
TIME_STYLES = ("-", "--", ":", "-.")


@in_our_style
def learning_curves(rows: list[dict[str, Any]], path: Path) -> Path:
    """Rows {block, t, share, explained_variance, dead_fraction, init_cosine, stability or None}: a line a site.

    ``share`` is the part of the training steps, in [0, 1]. A colour is a block, a style of line a time.
    """
    blocks, times = sorted({r["block"] for r in rows}), sorted({r["t"] for r in rows}, reverse=True)
    figure, axes = panels(1, len(CURVES), figsize=(11.5, 2.7))
    for axis, (name, called) in zip(axes[0], CURVES.items(), strict=True):
        scale = 100 if called.endswith("(%)") else 1
        for i, block in enumerate(blocks):
            for j, t in enumerate(times):
                at_site = [r for r in rows if (r["block"], r["t"]) == (block, t) and r[name] is not None]
                line = sorted((r["share"], scale * r[name]) for r in at_site)
                if line:
                    style = TIME_STYLES[j % len(TIME_STYLES)]
                    axis.plot(*zip(*line, strict=True), style, color=COLOURS[i % len(COLOURS)], lw=1.3)
        axis.set_title(called)
        axis.set_xlabel("share of the training steps")
        # Most happens early, and the points lie there: at their square roots they are apart.
        axis.set_xscale("function", functions=(np.sqrt, np.square))
        axis.set_xticks([0, 1 / 16, 1 / 4, 0.6, 1], ["0", "1/16", "1/4", "0.6", "1"])
        axis.set_xlim(0, 1)
        lowest = min(0, axis.get_ylim()[0]) if name == "explained_variance" else 0  # before any step it may be below 0
        axis.set_ylim(lowest, {"explained_variance": 100, "dead_fraction": None}.get(name, 1))
    handles = [Line2D([], [], color=COLOURS[i % len(COLOURS)], label=block) for i, block in enumerate(blocks)]
    handles += [
        Line2D([], [], color="black", ls=TIME_STYLES[j % len(TIME_STYLES)], lw=1.3, label=f"t = {t:g}")
        for j, t in enumerate(times)
    ]
    figure.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    figure.tight_layout()
    return save(figure, path)


@in_our_style
def layout_scores(rows: list[dict[str, Any]], path: Path) -> Path:
    """Mean IoU with intervals of {block, conditioning, t, method, iou, iou_ci_low, iou_ci_high} over t.

    A row of panels for each half of guidance, a column for each block in the order of the rows.
    """
    halves, blocks = (list(dict.fromkeys(r[name] for r in rows)) for name in ("conditioning", "block"))
    methods = [m for m in LAYOUT_METHODS if any(r["method"] == m for r in rows)]
    size = (2.2 * len(blocks), 0.3 + 2.3 * len(halves))
    figure, axes = panels(len(halves), len(blocks), figsize=size, sharex=True, sharey=True)
    for axis, (conditioning, block) in zip(axes.flat, product(halves, blocks), strict=True):
        for i, method in enumerate(methods):
            line = sorted(
                (r["t"], r["iou"], r["iou"] - r["iou_ci_low"], r["iou_ci_high"] - r["iou"])
                for r in rows
                if (r["conditioning"], r["block"], r["method"]) == (conditioning, block, method)
            )
            if not line:
                continue
            t, iou, low, high = (np.array(v) for v in zip(*line, strict=True))
            reach = np.maximum([low, high], 0)  # an end of an interval may miss the mean by a rounding
            axis.errorbar(t + 0.012 * i, iou, reach, fmt="-o", ms=3, lw=1, color=COLOURS[i], label=method)
        axis.set_title(f"{conditioning} {block}")
    for axis in axes[-1]:
        axis.set_xlabel("t (1 = noise)")
    for axis in axes[:, 0]:
        axis.set_ylabel("layout IoU (95 % interval)")
    axes[0, 0].invert_xaxis()
    axes[0, 0].set_ylim(bottom=0)
    _legend(axes[0, -1], 6.5)
    return save(figure, path)


@in_our_style
def intervention_effects(rows: list[dict[str, Any]], windows: list[str], path: Path) -> Path:
    """Success of {kind, window, control, success, success_ci_low, success_ci_high}, controls side by side.

    The rows are of the cases that the unedited images do not fulfil, so these succeed in none and are not drawn.
    """
    kinds = [kind for kind in ("spatial", "global") if any(r["kind"] == kind for r in rows)]
    looks = looks_of([r for r in rows if r["control"] != UNEDITED])
    apart = 0.6 / max(len(looks), 4)  # what belongs to a window stays nearer to it than to the next
    figure, axes = panels(1, len(kinds), figsize=(3.4 * len(kinds), 2.8), sharey=True)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for i, (control, (name, colour)) in enumerate(looks.items()):
            by_window = {r["window"]: r for r in rows if r["kind"] == kind and r["control"] == control}
            at = [j for j, window in enumerate(windows) if window in by_window]
            shown = [by_window[windows[j]] for j in at]
            middle = np.array([r["success"] for r in shown])
            ends = [[r[end] for r in shown] for end in ("success_ci_low", "success_ci_high")]
            reach = np.abs(np.array(ends, float) - middle)  # null, where prompts say nothing of it, becomes NaN: no bar
            x = np.array(at) + apart * (i - (len(looks) - 1) / 2)
            axis.errorbar(x, middle, np.maximum(reach, 0), fmt="o", ms=4, lw=1.2, capsize=2, color=colour, label=name)
        axis.set_xticks(range(len(windows)), windows)
        axis.set_xlim(-0.5, len(windows) - 0.5)
        axis.set_title(f"{kind} edits")
    axes[0, 0].set_ylabel("success where it was not so before\n(95 % interval)")
    axes[0, 0].set_ylim(-0.03, 1.03)  # points at either end are whole
    _legend(axes[0, -1], 7)
    return save(figure, path)


def looks_of(rows: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """Control -> what it is called, and its colour; those that every study has come first."""
    others = [c for c in dict.fromkeys(r["control"] for r in rows) if c not in CONTROLS]
    free = [colour for colour in COLOURS if colour not in {colour for _, colour in CONTROLS.values()}]
    known = {c: CONTROLS[c] for c in CONTROLS if any(r["control"] == c for r in rows)}
    return known | {c: (c.replace("_", " "), free[i % len(free)]) for i, c in enumerate(others)}


def _legend(axis: Any, size: float) -> None:
    """Of what is drawn in the axis, if anything is; beside the last panel, where it hides nothing."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=size, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
