"""Two concepts, dictionaries or studies side by side: which labels both carry, and which only one of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import numpy as np

import concept_atlas
from explorer.addresses import At, at_of, label_url
from explorer.concept_page import FACTS, examples
from explorer.missing import Missing, every_dictionary, known_labels, named
from explorer.source import Source

SHOWN_LABELS = 24
SITE = ("block", "t", "conditioning", "k")
EVIDENCE = ("iou_selection", "iou_heldout", "iou_heldout_se", "assigned", "label", "cid")
OTHER, WHOLE = "other:", "study"  # in an address: of the other study, and all dictionaries of one


@dataclass(frozen=True)
class Side:
    """A study, one of its dictionaries, or one of that one's concepts. ``asked``: as an address names it."""

    source: Source
    asked: str
    at: At | None = None
    cid: int | None = None

    @property
    def kind(self) -> str:
        """What it is, in a word."""
        return "study" if self.at is None else "dictionary" if self.cid is None else "concept"

    @property
    def name(self) -> str:
        """What it is called on the page; of what is in the other study, with that one's name."""
        study = f"study {self.source.atlas.name}"
        if self.at is None:
            return f"{study}, the other one" if self.foreign else study
        what = self.at.path if self.cid is None else f"{self.at.path}/{self.cid}"
        return f"{what} of the other {study}" if self.foreign else what

    @property
    def foreign(self) -> bool:
        """Whether it is of the other study, whose concepts have no pages here."""
        return self.asked.startswith(OTHER)


def compare_page(source: Source, a: str, b: str) -> dict[str, Any]:
    """What the template shows. Raises ``Missing`` for what the study does not have, or is not to be compared."""
    sides = [side_of(source, asked) for asked in (a, b)] if a and b else []
    other = source.other
    common = {
        "a": a[:80],
        "b": b[:80],
        "sides": sides,
        "pairs": [],
        "other": None if other is None else other.atlas.name,
        "both": [],
        "dictionaries": _names(source),
        "meanings": concept_atlas.meanings("concept_labels"),
    }
    if not sides:
        return {**common, "kind": "", "pairs": neighbouring(source), "both": _of_both(source)}
    kind = sides[0].kind
    if kind != sides[1].kind:
        raise Missing(
            "A concept is compared with a concept, a dictionary with a dictionary, and a study with the other one."
        )
    if kind != "concept":
        return {**common, "kind": "dictionaries", **_dictionaries(source, sides)}
    if any(side.foreign for side in sides):
        raise Missing(
            "Concepts are compared within one study: name two dictionaries, or look at each in its own pages."
        )
    return {**common, "kind": "concepts", **_concepts(source, sides)}


def side_of(source: Source, asked: str) -> Side:
    """What an address names: ``mid/0.50/cond/k10``, a concept's number behind it, ``study``, or these after ``other:``.

    Raises ``Missing``.
    """
    text = asked.removeprefix(OTHER)
    of = source.other if text != asked else source
    if of is None:
        raise Missing("No other study is open: start the explorer with --compare and its folder.")
    if text == WHOLE:
        return Side(of, asked)
    try:
        return Side(of, asked, *named(of, text))
    except Missing as missing:
        raise Missing(missing.said, () if of is source.other else missing.nearest) from missing


def _names(source: Source) -> list[str]:
    """What may be compared, but for concepts."""
    own = [at.path for at in every_dictionary(source)]
    if source.other is None:
        return own
    return [*own, WHOLE, *(OTHER + name for name in (WHOLE, *(at.path for at in every_dictionary(source.other))))]


def _of_both(source: Source) -> list[tuple[str, str]]:
    """Each dictionary that both studies have beside itself, and before these the studies, as (name, address)."""
    if source.other is None:
        return []
    theirs = {at.path for at in every_dictionary(source.other)}
    shared = [at.path for at in every_dictionary(source) if at.path in theirs]
    names = [("all dictionaries", WHOLE), *((path, path) for path in shared)]
    return [(name, f"/compare?a={quote(what)}&b={quote(OTHER + what)}") for name, what in names]


def neighbouring(source: Source) -> list[tuple[str, str]]:
    """Each dictionary beside that of the next time of its block, as (name, address)."""
    lines: dict[tuple[str, str, int], list[At]] = {}
    for at in sorted(every_dictionary(source), key=lambda at: -at.t):
        lines.setdefault((at.block, at.conditioning, at.k), []).append(at)
    pairs = [pair for line in lines.values() for pair in pairwise(line)]
    return [(f"{a.path} and {b.path}", f"/compare?a={quote(a.path)}&b={quote(b.path)}") for a, b in pairs]


def _dictionaries(source: Source, sides: list[Side]) -> dict[str, Any]:
    """The labels that the concepts of each were given, with the concept that was best on the half that gives them."""
    best, known = [_carried(side) for side in sides], known_labels(source)
    lines = [
        {"label": label, "url": label_url(label) if label in known else "", "sides": [one.get(label) for one in best]}
        for label in sorted(set(best[0]) | set(best[1]))
    ]
    return {"lines": sorted(lines, key=_order), "counts": _counts(lines)}


def _carried(side: Side) -> dict[str, dict[str, Any]]:
    """Label -> the row of the concept that carries it best, where it is, and its address if it has a page here."""
    where = {} if side.at is None else side.at.columns
    rows = side.source.rows("concept_labels", [*EVIDENCE, *SITE], **where, kind="trained", assigned=True)
    rows.sort(key=lambda row: (row["iou_selection"], -row["cid"]))  # the best one stands last, and stays
    best = {row["label"]: row for row in rows}
    return {
        label: {
            **row,
            "url": "" if side.foreign else at_of(row).url(row["cid"]),
            "where": at_of(row).path if side.at is None else "",
        }
        for label, row in best.items()
    }


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
        assert side.at is not None and side.cid is not None
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
    ats = [side.at for side in sides if side.at is not None]
    if ats[0].block != ats[1].block:
        return None
    views = [source.view(at.block, at.t, at.conditioning, at.k) for at in ats]
    return float(np.dot(*(view.vectors[side.cid or 0] for view, side in zip(views, sides, strict=True))))
