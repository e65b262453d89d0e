"""Edits of one image: those that `concepts intervene` made of it, and those that were made by hand of its prompt."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Any

import pyarrow.compute as pc

from explorer.edit_page import SHOWN_EDITS, done
from explorer.figure import Row
from explorer.missing import Missing, number_of
from explorer.source import Source

EDITED, TWIN = "none", "random_direction"  # values of the column ``control``
CASE = ("kind", "target", "region", "strength", "window", "seed")
READ = ("prompt_id", *CASE, "t", "control", "success")
PICTURES = {"after": EDITED, "control": TWIN}
BY_HAND = 6  # edits of a prompt that are shown


def image_edits(source: Source, row: dict[str, Any]) -> dict[str, Any]:
    """What the template shows. ``row``: the image's of ``prompts``."""
    cases = _cases(source, int(row["prompt_id"]))
    targets = [
        _target(list(own))
        for _, own in groupby(cases, key=lambda case: (case["kind"], case["target"], case["strength"]))
    ]
    own = [edit for edit in source.atlas.kept_edits[:SHOWN_EDITS] if edit["prompt"] == row["caption"]]
    return {
        "targets": targets,
        "kept": source.atlas.keeps_edited_images,
        "by_hand": [_line(edit, edit["seed"] == row["seed"]) for edit in own[:BY_HAND]],
        "more_by_hand": max(len(own) - BY_HAND, 0),
    }


def most_edited(source: Source, most: int) -> list[int]:
    """The images that the study made most edits of, and kept them: in this order, ties by number."""
    if not source.atlas.keeps_edited_images:
        return []
    made = Counter(source.arrow("interventions", ["prompt_id"], control=EDITED)["prompt_id"].to_pylist())
    return sorted(made, key=lambda number: (-made[number], number))[:most]


def _cases(source: Source, prompt_id: int) -> list[Row]:
    """The edits of the study whose pictures were kept, in the order by which addresses number them.

    Each has the judge's verdict, and that on its random twin: None without one.
    """
    if not source.atlas.keeps_edited_images:
        return []
    every = source.arrow("interventions", list(READ))
    rows = every.filter(pc.equal(every["prompt_id"], prompt_id)).to_pylist()
    twins = {tuple(row[name] for name in CASE): row["success"] for row in rows if row["control"] == TWIN}
    cases = [row for row in rows if row["control"] == EDITED]
    cases.sort(key=lambda row: (row["kind"] != "spatial", row["target"], row["strength"], row["region"], -row["t"]))
    return [{**row, "number": n, "twin": twins.get(tuple(row[name] for name in CASE))} for n, row in enumerate(cases)]


def _target(cases: list[Row]) -> dict[str, Any]:
    """All edits towards one target: a line for each region, a column for each window, from noise to image."""
    windows = list(dict.fromkeys(case["window"] for case in sorted(cases, key=lambda case: -case["t"])))
    lines = [
        {"region": region, "cases": {case["window"]: case for case in own}}
        for region, own in groupby(cases, key=lambda case: case["region"])
    ]
    return {**cases[0], "windows": windows, "lines": lines}


def _line(edit: Row, same_noise: bool) -> dict[str, Any]:
    return {"edit": edit["edit"], "done": done(edit), "window": edit["window"], "same_noise": same_noise}


def study_picture(source: Source, text: str, case: str, picture: str) -> bytes:
    """The PNG of one of the study's edits of an image, or of its random twin. Raises ``Missing`` for no such edit."""
    prompt_id, number = number_of(text, "an image"), number_of(case, "an edit")
    cases = _cases(source, prompt_id)
    if number >= len(cases) or picture not in PICTURES:
        raise Missing(f"This study kept no such edit of image {prompt_id}.", ((f"image {text}", f"/image/{text}"),))
    wanted = {name: cases[number][name] for name in CASE}
    rows = source.atlas.rows(
        "interventions", ["image"], {"prompt_id": prompt_id, **wanted, "control": PICTURES[picture]}
    )
    if not rows.num_rows or (image := rows["image"][0].as_py()) is None:
        raise Missing(f"The picture of that edit of image {prompt_id} was not kept.")
    return bytes(image)
