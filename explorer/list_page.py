"""A list of concepts that somebody marked: its address carries it, so that it can be sent to a colleague."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from explorer.missing import Missing, named
from explorer.source import Source

LONGEST_LIST, LONGEST_NOTE = 60, 200
COLUMNS = ("label", "iou_selection", "iou_heldout", "iou_heldout_se")


def list_page(source: Source, names: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    """What the template shows. ``names``: as mid/0.50/cond/k10/7, with a note each; what is not there is told."""
    return {
        "lines": [
            _line(source, name, notes[n] if n < len(notes) else "") for n, name in enumerate(names[:LONGEST_LIST])
        ],
        "left_out": max(len(names) - LONGEST_LIST, 0),
        "longest_note": LONGEST_NOTE,
    }


def _line(source: Source, name: str, note: str) -> dict[str, Any]:
    line: dict[str, Any] = {"name": name[:80], "note": note[:LONGEST_NOTE], "url": "", "said": "", "best": None}
    try:
        at, cid = named(source, name)
    except Missing as missing:
        return {**line, "said": missing.said}
    if cid is None:
        return {**line, "said": "This is a dictionary: name one of its concepts."}
    rows = source.rows("concept_labels", [*COLUMNS, "assigned"], **at.columns, kind="trained", cid=cid)
    rows.sort(key=lambda row: (not row["assigned"], -row["iou_selection"], row["label"]))
    return {**line, "name": f"{at.path}/{cid}", "url": at.url(cid), "best": rows[0] if rows else None}
