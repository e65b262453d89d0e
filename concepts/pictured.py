"""What the pictures of a study show, of all that they could: picked before anything that they report is known."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from concepts.cases import EVERYWHERE
from concepts.edit_controls import CONCEPTS, RANDOM, UNEDITED
from concepts.effect_table import case_of
from concepts.settings import REGIONS

Row = dict[str, Any]
_ORDER = (*REGIONS, EVERYWHERE)


def best_of_each_label(rows: Iterable[Row]) -> list[Row]:
    """The row of each label with the largest IoU on the selection half, best first; ties by label, block and CID.

    ``rows`` are of ``concept_labels``. The held-out IoU that a picture reports has chosen nothing.
    """
    best: dict[str, Row] = {}
    for row in sorted(rows, key=lambda r: (-r["iou_selection"], r["label"], r["block"], r["cid"])):
        best.setdefault(row["label"], row)
    return list(best.values())


def pictured_edits(rows: Sequence[Row], windows: Sequence[str]) -> list[tuple[Row, Row]]:
    """A case of each target as (edited by concepts, edited by a random direction), whatever came of it.

    ``rows`` are of ``interventions``; spatial edits are shown in the first window, global ones in the second. Of the
    cases that the unedited image does not fulfil, by prompt and region, it is the first of the first target, the second
    of the second, and so on, so that not all show one quadrant. Cases whose images were not kept are left out.
    """
    if not windows:
        return []
    shown = {"spatial": windows[0], "global": windows[min(1, len(windows) - 1)]}
    pairs = []
    for kind, window in shown.items():
        here = [row for row in rows if (row["kind"], row["window"]) == (kind, window)]
        controls = {case_of(row): row for row in here if row["control"] == RANDOM and row["image"]}
        for number, target in enumerate(sorted({row["target"] for row in here})):
            new = _new_cases(here, target)
            edited = new[number % len(new)] if new else None
            if edited is not None and case_of(edited) in controls:
                pairs.append((edited, controls[case_of(edited)]))
    return pairs


def _new_cases(rows: Sequence[Row], target: str) -> list[Row]:
    """The target's edited images that were kept, of cases that the unedited image does not fulfil, in order."""
    fulfilled = {case_of(row) for row in rows if row["control"] == UNEDITED and row["success"]}
    edited = [row for row in rows if row["target"] == target and row["control"] == CONCEPTS and row["image"]]
    new = [row for row in edited if case_of(row) not in fulfilled]
    return sorted(new, key=lambda row: (row["prompt_id"], _ORDER.index(row["region"])))
