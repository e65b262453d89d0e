"""Two concepts, or two dictionaries, side by side: which labels both carry, and which only one of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import numpy as np

import concept_atlas
from explorer.addresses import At, label_url
from explorer.concept_page import FACTS, examples
from explorer.missing import Missing, every_dictionary, named
from explorer.source import Source

SHOWN_LABELS = 24
EVIDENCE = ("iou_selection", "iou_heldout", "iou_heldout_se", "assigned", "label", "cid")


@dataclass(frozen=True)
class Side:
    """A dictionary, or one of its concepts."""

    at: At
    cid: int | None

    @property
    def name(self) -> str:
        """As an address has it."""
        return self.at.path if self.cid is None else f"{self.at.path}/{self.cid}"


def compare_page(source: Source, a: str, b: str) -> dict[str, Any]:
    """What the template shows. Raises ``Missing`` for what the study does not have, or is not to be compared."""
    sides = [Side(*named(source, asked)) for asked in (a, b)] if a and b else []
    common = {
        "a": a[:80],
        "b": b[:80],
        "sides": sides,
        "pairs": [],
        "dictionaries": [at.path for at in every_dictionary(source)],
        "meanings": concept_atlas.meanings("concept_labels"),
    }
    if not sides:
        return {**common, "kind": "", "pairs": neighbouring(source)}
    if (sides[0].cid is None) != (sides[1].cid is None):
        raise Missing("A concept is compared with a concept, and a dictionary with a dictionary.")
    if sides[0].cid is None:
        return {**common, "kind": "dictionaries", **_dictionaries(source, sides)}
    return {**common, "kind": "concepts", **_concepts(source, sides)}


def neighbouring(source: Source) -> list[tuple[str, str]]:
    """Each dictionary beside that of the next time of its block, as (name, address)."""
    lines: dict[tuple[str, str, int], list[At]] = {}
    for at in sorted(every_dictionary(source), key=lambda at: -at.t):
        lines.setdefault((at.block, at.conditioning, at.k), []).append(at)
    pairs = [pair for line in lines.values() for pair in pairwise(line)]
    return [(f"{a.path} and {b.path}", f"/compare?a={quote(a.path)}&b={quote(b.path)}") for a, b in pairs]


def _dictionaries(source: Source, sides: list[Side]) -> dict[str, Any]:
    """The labels that the concepts of each were given, with the concept that was best on the half that gives them."""
    best: list[dict[str, dict[str, Any]]] = []
    for side in sides:
        rows = source.rows("concept_labels", list(EVIDENCE), **side.at.columns, kind="trained", assigned=True)
        rows.sort(key=lambda row: (row["iou_selection"], -row["cid"]))  # the best one stands last, and stays
        best.append({row["label"]: {**row, "url": side.at.url(row["cid"])} for row in rows})
    labels = sorted(set(best[0]) | set(best[1]))
    lines = [{"label": label, "url": label_url(label), "sides": [one.get(label) for one in best]} for label in labels]
    return {"lines": sorted(lines, key=_order), "counts": _counts(lines)}


def _order(line: dict[str, Any]) -> tuple[Any, ...]:
    """First what both carry, by the held-out IoU of the first; then what one alone does."""
    first, second = line["sides"]
    shown = [one["iou_heldout"] or 0.0 for one in (first, second) if one]
    return (first is None or second is None, first is None, -shown[0], line["label"])


def _counts(lines: list[dict[str, Any]]) -> dict[str, int]:
    there = [tuple(side is not None for side in line["sides"]) for line in lines]
    return {
        "both": there.count((True, True)),
        "first": there.count((True, False)),
        "second": there.count((False, True)),
    }


def _concepts(source: Source, sides: list[Side]) -> dict[str, Any]:
    facts, overlaps, shown = [], [], []
    for side in sides:
        assert side.cid is not None
        facts.append(source.rows("concepts", [*FACTS, "top_label"], **side.at.columns, cid=side.cid)[0])
        rows = source.rows("concept_labels", list(EVIDENCE), **side.at.columns, kind="trained", cid=side.cid)
        overlaps.append({row["label"]: row for row in rows})
        shown.append(_strongest(source, side.at, side.cid))
    known = {
        label: max(one[label]["iou_selection"] for one in overlaps if label in one) for one in overlaps for label in one
    }
    labels = sorted(known, key=lambda label: (-known[label], label))[:SHOWN_LABELS]
    cosine, problem = source.tried(lambda: _cosine(source, sides), None)
    return {
        "facts": facts,
        "fact_names": FACTS,
        "fact_meanings": concept_atlas.meanings("concepts"),
        "lines": [{"label": n, "url": label_url(n), "sides": [one.get(n) for one in overlaps]} for n in labels],
        "shown": shown,
        "cosine": cosine,
        "cosine_problem": problem,
        "together": len({one["prompt_id"] for one in shown[0]} & {one["prompt_id"] for one in shown[1]}),
    }


def _strongest(source: Source, at: At, cid: int) -> list[dict[str, Any]]:
    """The images of the strongest bin; none where the table cannot be read."""
    bins, _ = source.tried(lambda: examples(source, at, cid), list[dict[str, Any]]())
    return list(bins[0]["shown"]) if bins else []


def _cosine(source: Source, sides: list[Side]) -> float | None:
    """Of the two vectors; None for blocks whose channels are not the same ones."""
    if sides[0].at.block != sides[1].at.block:
        return None
    vectors = [
        source.view(side.at.block, side.at.t, side.at.conditioning, side.at.k).vectors[side.cid or 0] for side in sides
    ]
    return float(np.dot(*vectors))
