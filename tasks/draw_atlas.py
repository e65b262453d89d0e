"""What the pictures of the temporal atlas show, from its tables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from concepts.intervals import cluster_interval
from concepts.onset_table import ALL
from figures import causes, temporal
from storage.query import query
from storage.tables import read_table
from study.pictures import put_picture
from study.study import Study
from study.units import EVERY, FIGURE_STAGE


def draw_atlas(study: Study) -> list[str]:
    """Draw every picture whose table has rows, each with a record that vouches for its file; returns their names."""
    drawn = []
    for name, (table, figure) in ATLAS_FIGURES.items():
        if read_table(study.root, table, ["kind"]).num_rows:
            path = Path(study.root) / "figures" / f"{name}.png"
            put_picture(study.root, FIGURE_STAGE, path, study.config_hash, partial(figure, study))
            drawn.append(name)
    return drawn


def _curves(study: Study, path: Path) -> None:
    columns = ["length", "kind", "control", "onset", "prompt_id", "success"]
    edited = read_table(study.root, "temporal_atlas", columns, [("control", "!=", "unedited")]).to_pylist()
    halves = read_table(study.root, "temporal_onsets", filters=[("target", "==", ALL)]).to_pylist()
    known = {(r["length"], r["kind"], r["control"]): r for r in halves if r["tau50"] is not None}
    rows = onset_points(edited, study.config.interventions.bootstrap, study.config.seed)
    temporal.onset_curves(rows, known, path)


def onset_points(edited: list[dict[str, Any]], samples: int, seed: int) -> list[dict[str, Any]]:
    """A point for each length, kind, control and onset: mean success over cases, its interval over prompts."""
    of_point = ("length", "kind", "control", "onset")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in edited:
        groups.setdefault(tuple(row[name] for name in of_point), []).append(row)
    points = []
    for key, rows in groups.items():
        success = np.array([float(row["success"]) for row in rows])
        low, high = cluster_interval(success, [row["prompt_id"] for row in rows], samples, seed)
        ends = {"low": success.mean() if np.isnan(low) else low, "high": success.mean() if np.isnan(high) else high}
        points.append({**dict(zip(of_point, key, strict=True)), "success": float(success.mean()), **ends})
    return points


def _traces(study: Study, path: Path) -> None:
    windows = [EVERY, *study.config.interventions.windows]
    temporal.causal_traces(trace_shares(trace_means(study)), windows, path)


def trace_means(study: Study) -> list[dict[str, Any]]:
    """One row a method, kind, set of blocks and window: mean success, effect and ceiling."""
    columns = ["method", "kind", "blocks", "n_blocks", "window", "success", "effect", "ceiling"]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in read_table(study.root, "causal_traces", columns).to_pylist():
        groups.setdefault(tuple(row[name] for name in columns[:5]), []).append(row)
    return [
        dict(zip(columns[:5], key, strict=True))
        | {name: float(np.mean([row[name] for row in rows])) for name in columns[5:]}
        for key, rows in groups.items()
    ]


def trace_shares(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of means with ``share``, effect over ceiling, and short names of blocks: single ones first, all last."""
    ranked = sorted(rows, key=_rank)
    return [r | {"share": r["effect"] / max(r["ceiling"], 1e-9), "blocks": short_name(r["blocks"])} for r in ranked]


def _rank(row: dict[str, Any]) -> tuple[bool, int, int, str]:
    """By size, then as the U-Net runs."""
    place = next((i for i, name in enumerate(("down", "mid", "up")) if row["blocks"].startswith(name)), 3)
    return row["blocks"] == "*", row["n_blocks"], place, row["blocks"]


def short_name(blocks: str) -> str:
    """``down_blocks.0.attentions.1`` as ``down 0.1``; sets joined by a plus sign; ``*`` as ``all``."""
    if blocks == "*":
        return "all"
    names = []
    for path in blocks.split("+"):
        place, *numbers = path.replace("_blocks", "").replace("_block", "").split(".")
        names.append(" ".join([place, ".".join(n for n in numbers if n.isdigit())]))
    return " + ".join(names)


def _causes(study: Study, path: Path) -> None:
    rows = query(study.root, "from concept_scores where kind is not null order by all").to_pylist()
    causes.detecting_and_causing(rows, list(study.config.interventions.windows), path)


ATLAS_FIGURES: dict[str, tuple[str, Callable[[Study, Path], None]]] = {
    "temporal_atlas": ("temporal_atlas", _curves),
    "causal_traces": ("causal_traces", _traces),
    "detecting_and_causing": ("concept_causes", _causes),
}
