"""What detects a label best in images of known truth (table ``bench``): of each method the one feature that does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from explorer.addresses import at_of
from explorer.figure import TOLD, Row, not_yet
from explorer.source import Source

DICTIONARIES = ("trained", "shared")
OTHERS = {  # what every further method of the bench is; one that is not here was given to it by a user
    "probe": "supervised: a linear detector trained with the truth, a ceiling",
    "neurons": "baseline: the block's own channels",
    "pca": "baseline: principal components of the block's activations",
    "ica": "baseline: independent components of the block's activations",
    "nmf": "baseline: non-negative factors of the block's activations",
    "untrained": TOLD["untrained"],
    "frozen": TOLD["frozen"],
    "frozen_encoder": "control: only the decoder trained",
    "soft_frozen": "control: trained, every concept vector held near its random start",
    "shuffled_decoder": "control: the concept vectors, each with its entries shuffled",
}
QUESTIONS = {"image": "Is it in the image?", "cell": "In which cells of the grid is it?"}
COLUMNS = ("precision", "recall", "prevalence", "n_positive", "splitting")
READ = (
    *("block", "t", "conditioning", "k", "method", "scope", "kind", "cid"),
    *("f1", "f1_ci_low", "f1_ci_high", "f1_chosen", *COLUMNS),
)

# What the sentence above a table names: the best dictionary, the ceiling, the best baseline, and the control.
LEAD: tuple[Callable[[Row], bool], ...] = (
    lambda line: line["own"],
    lambda line: line["method"] == "probe",
    lambda line: line["told"].startswith("baseline"),
    lambda line: line["method"] == "untrained",
)


def detectors(source: Source, label: str, k: int) -> dict[str, Any]:
    """What the template shows: a table for each question, its methods best first; or ``missing``, why there is none."""
    rows = source.rows("bench", list(READ), label=label, k=k)
    if not rows:
        there = source.arrow("bench", ["method"]).num_rows
        of_none = "The images of known truth have no label of this name, or too few images of it (table bench)."
        return {"missing": of_none if there else not_yet("bench"), "tables": []}
    rows.sort(key=lambda row: (row["kind"], row["scope"] != "image", *_place(row)))
    tables = [_table(list(own)) for _, own in groupby(rows, key=lambda row: (row["kind"], row["scope"]))]
    return {"missing": "", "tables": tables}


def _place(row: Row) -> tuple[Any, ...]:
    """Sorts by what chose: F1 on the even images, ties as the bench's own page has them."""
    return (-row["f1_chosen"], row["block"], row["t"], row["conditioning"], row["method"])


def _table(rows: list[Row]) -> dict[str, Any]:
    """Rows of one question, the best place first; the first of each method is its best."""
    best: dict[str, Row] = {}
    for row in rows:
        best.setdefault(row["method"], row)
    own = next((row for row in best.values() if is_dictionary(row["method"])), None)
    lines = [
        {
            **row,
            "told": told(row["method"]),
            "path": at_of(row).path,
            "url": at_of(row).url(row["cid"]) if row["method"] == "trained" else "",
            "own": row is own,
            "beside": "" if own is None or row is own else beside(row, own),
        }
        for row in best.values()
    ]
    lead = [next((line for line in lines if is_of(line)), None) for is_of in LEAD]
    return {
        "kind": rows[0]["kind"],
        "question": QUESTIONS[rows[0]["scope"]],
        "lines": lines,
        "lead": [line for line in lead if line is not None],
    }


def is_dictionary(method: str) -> bool:
    """Whether a method of the bench is an SAE that was trained: the study's, or one that a user gave."""
    return method in DICTIONARIES or method not in OTHERS


def told(method: str) -> str:
    """What a method is, in a few words."""
    return OTHERS.get(method) or TOLD.get(method) or "a dictionary that was given to the bench"


def beside(row: Row, own: Row) -> str:
    """Where the interval of a method's F1 lies beside that of the best dictionary."""
    if row["f1_ci_high"] < own["f1_ci_low"]:
        return "below it"
    return "above it" if row["f1_ci_low"] > own["f1_ci_high"] else "not apart"
