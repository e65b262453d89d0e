"""The first page: what the study is, what of it is there, and its main numbers over time beside their controls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer.charts import Axis, Panel, Point
from explorer.figure import EXPLAINED, KINDS, METHODS, Figure, Row, figure, method_of, over_time, series_of
from explorer.missing import known_labels, shown_labels
from explorer.source import Source

SHOWN_LABELS = 400


def home(source: Source, asked_k: str) -> dict[str, Any]:
    """What the template shows; of several k the one that is asked for, else the first."""
    atlas = source.atlas
    k = int(asked_k) if asked_k in map(str, atlas.ks) else atlas.ks[0]
    figures, (labels, problem), progress = source.together(
        lambda: [_tried(source, make, k) for make in FIGURES],
        lambda: source.tried(lambda: shown_labels(source) or known_labels(source), dict[str, int]()),
        lambda: source.kept("progress", lambda: source.atlas.progress),
    )
    return {
        "facts": atlas.facts,
        "missing": [stage for stage in progress if stage.done < stage.units],
        "figures": figures,
        "k": k,
        "ks": atlas.ks,
        "labels": list(labels.items())[:SHOWN_LABELS],
        "more_labels": max(len(labels) - SHOWN_LABELS, 0),
        "labels_problem": problem,
    }


def _tried(source: Source, make: Callable[[Source, int], Figure], k: int) -> tuple[Figure | None, str]:
    """A figure and no words, or none and why."""
    return source.tried(lambda: make(source, k), None)


def explained(source: Source, k: int) -> Figure:
    """Explained variance of each kind of dictionary; of several seeds the first, and the span of all."""
    by_site: dict[tuple[Any, ...], list[Row]] = {}
    for row in source.rows("sae_metrics", k=k):
        by_site.setdefault((row["block"], row["t"], row["conditioning"], row["kind"]), []).append(row)
    rows = []
    for same in by_site.values():
        first = min(same, key=lambda row: (row["expansion"], row["seed"]))
        seeds = [row["explained_variance"] for row in same if row["expansion"] == first["expansion"]]
        span = (min(seeds), max(seeds)) if len(seeds) > 1 else (None, None)
        rows.append({**first, "low": span[0], "high": span[1]})
    panels, axis = over_time(source, rows, EXPLAINED, _kind, ("explained_variance", "low", "high"))
    told = (
        "Share of the variance of held-out activations that each dictionary reconstructs. "
        "Where there are several seeds, bands span them."
    )
    return figure("Explained variance", told, "sae_metrics", "explained variance", panels, axis)


def carried(source: Source, k: int) -> Figure:
    """How many labels some concept carries, by kind of dictionary."""
    rows = source.rows("label_controls", k=k)
    panels, axis = over_time(source, rows, KINDS, _kind, ("n_labels",))
    told = "Distinct labels that our rule gives to some concept of a dictionary, beside the controls."
    return figure("Labels carried", told, "label_controls", "labels carried", panels, axis)


def label_iou(source: Source, k: int) -> Figure:
    """Mean held-out IoU of the labels' best concepts, by kind of dictionary."""
    rows = source.rows("label_controls", k=k)
    value = ("label_iou", "label_iou_ci_low", "label_iou_ci_high")
    panels, axis = over_time(source, rows, KINDS, _kind, value)
    told = (
        "Mean over labels of the IoU of the concept that was best on one half of the images, measured on the "
        "other half; 95 % intervals."
    )
    return figure("How well labels are carried", told, "label_controls", "IoU of labels", panels, axis)


def layout(source: Source, k: int) -> Figure:
    """How well layouts are predicted, by method."""
    rows = source.rows("layout_scores", k=k, kind="trained", label="*", method=list(METHODS))
    panels, axis = over_time(source, rows, METHODS, method_of, ("iou", "iou_ci_low", "iou_ci_high"))
    told = (
        "IoU of predicted masks with those of the finished image, mean over images, with 95 % intervals. "
        "What is above position was read from the activations at that time."
    )
    return figure("Layouts predicted", told, "layout_scores", "IoU of layouts", panels, axis)


def edits(source: Source, _: int) -> Figure:
    """Success of edits in each window, beside random directions."""
    return edit_figure(source, "*", "Edits", "Share of cases, not fulfilled before, in which an edit succeeds; ")


def edit_figure(source: Source, target: str, title: str, told: str) -> Figure:
    """Success of edits towards a target, over windows, beside random directions of the same norm."""
    rows = source.rows("intervention_effects", target=target, cases="new")
    windows = _windows(source, {row["window"] for row in rows})
    names = {"none": "edit", "random_direction": "random direction"}
    panels = []
    for kind in ("spatial", "global"):
        lines = []
        for control, name in names.items():
            of = [row for row in rows if row["kind"] == kind and row["control"] == control]
            points = [
                Point(windows.index(r["window"]), r["success"], r["success_ci_low"], r["success_ci_high"]) for r in of
            ]
            lines.append(series_of(name, sorted(points, key=lambda point: point.x)))
        panels.append(Panel(f"{kind} edits", tuple(lines)))
    axis = Axis("", tuple(enumerate(windows))) if windows else None
    told += "95 % intervals, and a random direction of the same norm. Windows from noise to image."
    return figure(title, told, "intervention_effects", "success", panels, axis)


def _windows(source: Source, named: set[str]) -> list[str]:
    """The windows of edits, from noise to image: as their SAEs' times have it."""
    times: dict[str, float] = {}
    for row in source.rows("interventions", ["window", "t"], control="none"):
        times[row["window"]] = row["t"]
    return sorted(named, key=lambda window: (-times.get(window, 0.0), window))


def _kind(row: Row) -> str:
    return str(row["kind"])


FIGURES = (explained, carried, label_iou, layout, edits)
