"""A concept's page: what it is called and on what evidence, its images, how it fires, its partners, its neighbours."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import concept_atlas
from explorer.activity import activity
from explorer.addresses import At
from explorer.figure import Row
from explorer.missing import cid_of, concepts_of, prompts_of, site_of
from explorer.source import Source
from explorer.through_time import through_time

NEAREST, FOLLOWED = 8, 4  # concepts; images that the strip through time shows
FACTS = (
    *("n_images", "density", "act_mean", "act_max", "coverage", "context_free_score", "position_selectivity"),
    *("colour_selectivity", "init_cosine", "stability", "cohesion", "parent"),
)
LABEL_COLUMNS = (
    *("assigned", "iou_selection", "iou_heldout", "iou", "ceiling", "precision", "recall", "lift", "q_value"),
    *("n_co", "paper_assigned"),
)
ERRORS = {"iou": "iou_se", "iou_heldout": "iou_heldout_se"}  # column -> its standard error
READ = ("label", *LABEL_COLUMNS, *ERRORS.values())
EXAMPLES = ["bin", "rank", "prompt_id", "act_max", "grid", "map_indices", "map_values"]
SHOWN_LABELS = 12
CELL = np.dtype([("number", "<u2"), ("value", "<f4")])


def concept_page(source: Source, block: str, t: str, conditioning: str, k: str, text: str) -> dict[str, Any]:
    """What the template shows. Raises ``Missing`` for a dictionary or a concept that the study does not have."""
    at = site_of(source, block, t, conditioning, k)
    cid = cid_of(source, at, text)
    (facts,) = source.rows("concepts", [*FACTS, "top_label", "alive"], **at.columns, cid=cid)
    labels, (bins, problem), (nearest, alone) = source.together(
        lambda: source.labels_of(at.columns, cid, READ),
        lambda: source.tried(lambda: examples(source, at, cid), list[dict[str, Any]]()),
        lambda: source.tried(lambda: _nearest(source, at, cid), list[Row]()),
    )
    labels.sort(key=lambda row: (not row["assigned"], -row["iou_selection"], row["label"]))
    strongest = [shown["prompt_id"] for shown in bins[0]["shown"][:FOLLOWED]] if bins else []
    return {
        "at": at,
        "cid": cid,
        "facts": facts,
        "fact_names": FACTS,
        "meanings": concept_atlas.meanings("concepts"),
        "labels": labels[:SHOWN_LABELS],
        "more_labels": max(len(labels) - SHOWN_LABELS, 0),
        "label_columns": LABEL_COLUMNS,
        "errors": ERRORS,
        "label_meanings": concept_atlas.meanings("concept_labels"),
        "bins": bins,
        "bins_problem": problem,
        "strips": through_time(source, at, cid),
        "match_meanings": concept_atlas.meanings("concept_matches"),
        "strongest": strongest,
        "fires": activity(source, at, cid),
        "activity_meanings": concept_atlas.meanings("concept_activity"),
        "nearest": nearest,
        "nearest_problem": alone,
        "neighbours": neighbours(source, at, cid),
    }


def examples(source: Source, at: At, cid: int) -> list[dict[str, Any]]:
    """The images kept of each bin of the concept's activation, strongest bin first, with their maps."""
    rows = source.rows("concept_examples", EXAMPLES, **at.columns, cid=cid)
    captions = captions_of(source, [row["prompt_id"] for row in rows])
    bins: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        height, width = row["grid"]
        shown = {
            "prompt_id": row["prompt_id"],
            "caption": captions.get(row["prompt_id"], ""),
            "act_max": row["act_max"],
            "grid": f"{height} {width}",
            "cells": cells(row["map_indices"], row["map_values"]),
        }
        bins.setdefault(row["bin"], []).append(shown)
    return [{"bin": number, "shown": shown} for number, shown in sorted(bins.items())]


def cells(numbers: Sequence[int] | np.ndarray, values: Sequence[float] | np.ndarray) -> str:
    """A map as maps.js reads it, in base64: of each cell that is on its number, row by row, and its value."""
    pairs = np.empty(len(numbers), CELL)
    pairs["number"], pairs["value"] = numbers, values
    return base64.b64encode(pairs.tobytes()).decode()


def captions_of(source: Source, prompt_ids: list[int]) -> dict[int, str]:
    """Prompt id -> caption, of these."""
    prompts = prompts_of(source)
    own = prompts.filter(pc.is_in(prompts["prompt_id"], pa.array(prompt_ids, pa.int64())))
    return dict(zip(own["prompt_id"].to_pylist(), own["caption"].to_pylist(), strict=True))


def _nearest(source: Source, at: At, cid: int) -> list[Row]:
    """The concepts of the dictionary whose vectors point most alike."""
    known = concepts_of(source, at)
    found = source.view(at.block, at.t, at.conditioning, at.k).nearest(cid, NEAREST)
    return [
        {"cid": other, "cosine": cosine, "label": known[other].label, "url": at.url(other)} for other, cosine in found
    ]


def neighbours(source: Source, at: At, cid: int) -> list[tuple[str, str, str]]:
    """The concepts of the numbers before and after, as (name, way, address)."""
    there = concepts_of(source, at)
    ways = ((cid - 1, "prev"), (cid + 1, "next"))
    return [(str(other), way, at.url(other)) for other, way in ways if other in there]
