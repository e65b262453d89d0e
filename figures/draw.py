"""The study's pictures. Images are uint8 [H, W, 3]; masks bool [H, W]; heat float [rows, columns]."""

from __future__ import annotations

import textwrap
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from figures.style import BLUE, COLOURS, GREY, RED, bare, in_our_style, panels, save

CONTROLS = {  # of the column ``control``: what it is called, and its colour
    "none": ("by concepts", BLUE),
    "random_direction": ("random direction", RED),
    "unedited": ("unedited", GREY),
}
CONTROL_STYLES = {"frozen": "-.+", "soft_frozen": "-.^", "frozen_encoder": ":d", "untrained": ":x"}
KIND_STYLES = {"trained": "-o", "shared": "--s", **CONTROL_STYLES}
LAYOUT_METHODS = ("concepts", "evidence", "posterior", "position", "noise", "raw")  # as many as colours


@in_our_style
def images_and_masks(items: list[dict[str, Any]], path: Path) -> Path:
    """Rows of {image, caption, masks: label -> mask}: the image above its masks, one colour a label."""
    labels = sorted({label for item in items for label in item["masks"]})
    palette = colormaps["tab20"](np.arange(max(len(labels), 1)) % 20)[:, :3]
    figure, axes = panels(2, len(items), figsize=(1.5 * len(items), 3.9))
    for column, item in enumerate(items):
        axes[0, column].imshow(item["image"])
        bare(axes[0, column], "\n".join(textwrap.wrap(item["caption"], 22)[:3]))
        canvas = np.ones((*item["image"].shape[:2], 3))
        # Large masks first, so that small things stay visible.
        for label, mask in sorted(item["masks"].items(), key=lambda pair: -pair[1].sum()):
            canvas[mask] = palette[labels.index(label)]
        axes[1, column].imshow(canvas)
        bare(axes[1, column])
    handles = [Rectangle((0, 0), 1, 1, color=palette[i]) for i in range(len(labels))]
    if labels:
        figure.legend(handles, labels, loc="lower center", ncol=min(len(labels), 9), frameon=False, fontsize=8)
    figure.subplots_adjust(bottom=0.14, hspace=0.05)
    return save(figure, path)


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
def concept_cards(cards: list[dict[str, Any]], path: Path, columns: list[str] | None = None) -> Path:
    """Rows of {title, examples: [(image, heat)]}: images with a concept's map over them, ``columns`` named below.

    Heat is scaled by the row's largest value, so that maps of one concept compare.
    """
    width = max(len(card["examples"]) for card in cards)
    figure, axes = panels(len(cards), width, figsize=(1.25 * width, 1.45 * len(cards)))
    for row, card in zip(axes, cards, strict=True):
        top = max(float(heat.max()) for _, heat in card["examples"])
        for column, axis in enumerate(row):
            bare(axis)
            if column < len(card["examples"]):
                image, heat = card["examples"][column]
                _overlay(axis, image, heat, top)
        row[0].set_title(card["title"], fontsize=8, loc="left")
    for axis, name in zip(axes[-1], columns or [], strict=False):
        axis.set_xlabel(name, fontsize=7)
    figure.subplots_adjust(wspace=0.04, hspace=0.32)
    return save(figure, path)


@in_our_style
def concepts_through_time(items: list[dict[str, Any]], path: Path) -> Path:
    """One concept a row: for a few images, the image and the concept's map at each time, and its IoU over time.

    Items: {title, times, examples: [(image, {t: heat})], iou: {t: float}}. Heat is scaled by the
    row's largest value, so that maps of one row compare.
    """
    times = items[0]["times"]
    shown = max(len(item["examples"]) for item in items)
    columns = shown * (1 + len(times)) + 1
    ratios = [1.0] * (columns - 1) + [1.7]
    figure, axes = panels(
        len(items),
        columns,
        figsize=(1.05 * columns + 0.8, 1.35 * len(items)),
        gridspec_kw={"width_ratios": ratios},
    )
    for number, (row, item) in enumerate(zip(axes, items, strict=True)):
        top = max(float(heat.max()) for _, maps in item["examples"] for heat in maps.values())
        for axis in row[:-1]:
            bare(axis)
        for start, (image, maps) in zip(range(0, columns, 1 + len(times)), item["examples"], strict=False):
            row[start].imshow(image)
            for offset, t in enumerate(times, start=1):
                _overlay(row[start + offset], image, maps[t], top)
                if number == len(items) - 1:
                    row[start + offset].set_xlabel(f"t={t:.2f}", fontsize=7)
        row[0].set_title(item["title"], fontsize=8, loc="left")
        _iou_over_time(row[-1], item, last=number == len(items) - 1)
    figure.subplots_adjust(wspace=0.06, hspace=0.32)
    return save(figure, path)


def _iou_over_time(axis: Any, item: dict[str, Any], last: bool) -> None:
    times = item["times"]
    axis.plot(times, [item["iou"].get(t, 0.0) for t in times], "-o", ms=3, color=BLUE)
    axis.invert_xaxis()
    axis.set_ylim(0, 1)
    axis.set_yticks([0, 1])
    axis.yaxis.tick_right()
    axis.tick_params(labelsize=6)
    axis.set_xticks(times if last else [])
    if last:
        axis.set_xlabel("held-out IoU over t", fontsize=7)


def _overlay(axis: Any, image: np.ndarray, heat: np.ndarray, top: float | None = None) -> None:
    height, width = image.shape[:2]
    grey = image.mean(-1, keepdims=True).repeat(3, -1) / 255
    axis.imshow(0.55 * grey + 0.45 * image / 255)
    scaled = heat / max(float(heat.max()) if top is None else top, 1e-12)
    axis.imshow(scaled, cmap="inferno", alpha=0.75 * (scaled > 0), extent=(0, width, height, 0), vmin=0, vmax=1)


@in_our_style
def layouts(items: list[dict[str, Any]], path: Path) -> Path:
    """Columns of {image, label, truth, predictions: t -> bool grid}: predicted masks beside the truth."""
    times = sorted({t for item in items for t in item["predictions"]}, reverse=True)
    figure, axes = panels(2 + len(times), len(items), figsize=(1.2 * len(items), 1.3 * (2 + len(times))))
    for column, item in enumerate(items):
        axes[0, column].imshow(item["image"])
        bare(axes[0, column], item["label"])
        axes[1, column].imshow(item["truth"], cmap="Greys", vmin=0, vmax=1)
        bare(axes[1, column])
        for row, t in enumerate(times, start=2):
            axes[row, column].imshow(item["predictions"][t], cmap="Blues", vmin=0, vmax=1)
            bare(axes[row, column])
    for row, name in enumerate(["final image", "its mask", *(f"predicted, t={t:.2f}" for t in times)]):
        axes[row, 0].set_ylabel(name, fontsize=7.5)
    for axis in axes[1:].ravel():
        for spine in axis.spines.values():
            spine.set_visible(True)
            spine.set_color(GREY)
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

    The rows are of the cases that the unedited images do not fulfil.
    """
    kinds = [kind for kind in ("spatial", "global") if any(r["kind"] == kind for r in rows)]
    figure, axes = panels(1, len(kinds), figsize=(3.4 * len(kinds), 2.8), sharey=True)
    for axis, kind in zip(axes[0], kinds, strict=True):
        for i, (control, (name, colour)) in enumerate(CONTROLS.items()):
            by_window = {r["window"]: r for r in rows if r["kind"] == kind and r["control"] == control}
            at = [j for j, window in enumerate(windows) if window in by_window]
            shown = [by_window[windows[j]] for j in at]
            middle = np.array([r["success"] for r in shown])
            ends = [[r[end] for r in shown] for end in ("success_ci_low", "success_ci_high")]
            reach = np.abs(np.array(ends, float) - middle)  # null, where prompts say nothing of it, becomes NaN: no bar
            x = np.array(at) + 0.16 * (i - 1)
            axis.errorbar(x, middle, np.maximum(reach, 0), fmt="o", ms=4, lw=1.2, capsize=2, color=colour, label=name)
        axis.set_xticks(range(len(windows)), windows)
        axis.set_title(f"{kind} edits")
    axes[0, 0].set_ylabel("success where it was not so before\n(95 % interval)")
    axes[0, 0].set_ylim(0, 1)
    _legend(axes[0, -1], 7)
    return save(figure, path)


def _legend(axis: Any, size: float) -> None:
    """Of what is drawn in the axis, if anything is; beside the last panel, where it hides nothing."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=size, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


@in_our_style
def interventions(items: list[dict[str, Any]], path: Path) -> Path:
    """Rows of {title, before, edited, control, region (bool mask or None)}."""
    figure, axes = panels(3, len(items), figsize=(1.35 * len(items), 4.3))
    for column, item in enumerate(items):
        for row, key in enumerate(("before", "edited", "control")):
            axis = axes[row, column]
            axis.imshow(item[key])
            bare(axis, item["title"] if row == 0 else "")
            if item["region"] is not None and row:
                axis.contour(item["region"], levels=[0.5], colors=[BLUE], linewidths=1.2)
    for row, name in enumerate(("before", "by concepts", "random direction")):
        axes[row, 0].set_ylabel(name, fontsize=8)
    note = "cases picked by their number alone, among those that the image before does not fulfil"
    figure.text(0.5, 0.03, note, ha="center", fontsize=8)
    return save(figure, path)
