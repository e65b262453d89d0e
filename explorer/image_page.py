"""An image's page: the picture, its segments, and the codes behind every place of it at every site."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np

from concept_atlas import Codes, SiteView
from explorer.addresses import label_url
from explorer.edit_page import PICTURES
from explorer.image_edits import image_edits
from explorer.missing import Concepts, Missing, concepts_of, every_dictionary, image_of, number_of, site_of
from explorer.source import Source

PICTURE_BYTES = 16 * 2**20


def image_page(source: Source, text: str) -> dict[str, Any]:
    """What the template shows. Raises ``Missing`` for an image that the study does not have."""
    row = image_of(source, text)
    prompt_id = int(str(row["prompt_id"]))
    kept = bool(source.rows("images", ["prompt_id"], prompt_id=prompt_id))
    segments, problem = source.tried(lambda: _segments(source, prompt_id), list[dict[str, Any]]())
    edits, unread = source.tried(lambda: image_edits(source, row), None)
    return {
        "row": row,
        "prompt_id": prompt_id,
        "kept": kept,
        "segments": segments,
        "segments_problem": problem,
        "edits": edits,
        "edits_problem": unread,
        "edit_pictures": PICTURES,
        "dictionaries": every_dictionary(source),
        "times": sorted({site.t for site in source.atlas.sites}, reverse=True),
        "places": list(dict.fromkeys((at.block, at.conditioning, at.k) for at in every_dictionary(source))),
        "neighbours": _neighbours(source, prompt_id),
    }


def _segments(source: Source, prompt_id: int) -> list[dict[str, Any]]:
    """Each label's mask, all its segments together, as run lengths over rows, beginning with the pixels outside."""
    found = []
    for label, mask in sorted(source.atlas.segments(prompt_id).items()):
        runs = [(value, sum(1 for _ in run)) for value, run in groupby(mask.ravel().tolist())]
        lengths = ([0] if runs and runs[0][0] else []) + [length for _, length in runs]
        found.append(
            {
                "label": label,
                "url": label_url(label),
                "size": f"{mask.shape[0]} {mask.shape[1]}",
                "runs": " ".join(map(str, lengths)),
                "share": float(np.mean(mask)),
            }
        )
    return found


def masks(source: Source, text: str) -> dict[str, Any]:
    """Label -> its mask in an image as ``size`` and ``runs``, for pages that draw it once it is in sight."""
    prompt_id = int(str(image_of(source, text)["prompt_id"]))
    return {"masks": {one["label"]: {"size": one["size"], "runs": one["runs"]} for one in _segments(source, prompt_id)}}


def picture(source: Source, text: str) -> bytes:
    """The image as it is stored, PNG. Raises ``Missing`` where none was kept."""
    prompt_id = number_of(text, "an image")
    rows = source.rows("images", ["image"], prompt_id=prompt_id)
    if not rows or len(rows[0]["image"]) > PICTURE_BYTES:
        raise Missing(f"The image of prompt {prompt_id} was not kept.")
    return bytes(rows[0]["image"])


def codes(source: Source, text: str, block: str, t: str, conditioning: str, k: str) -> dict[str, Any]:
    """Which concepts are on in each cell of an image at a site, strongest first, their labels and largest activations.

    ``cells``: for each cell, row by row, pairs of CID and activation; ``layouts``: as ``layouts`` gives them. Raises
    ``Missing`` for what is not there.
    """
    at = site_of(source, block, t, conditioning, k)
    prompt_id = int(str(image_of(source, text)["prompt_id"]))
    view = source.view(at.block, at.t, at.conditioning, at.k)
    found = view.codes(prompt_id)
    height, width, _ = found.cids.shape
    facts = facts_of(concepts_of(source, at), found)
    predicted = layouts(source, view, prompt_id, found)
    return {"path": at.path, "grid": [height, width], "cells": _cells(found), "concepts": facts, "layouts": predicted}


def strongest_first(found: Codes) -> Codes:
    """The same codes, in each cell the strongest first; of equal ones the lowest number."""
    order = np.lexsort((found.cids, -found.values), axis=-1)
    return Codes(np.take_along_axis(found.values, order, -1), np.take_along_axis(found.cids, order, -1))


def _cells(found: Codes) -> list[list[tuple[int, float]]]:
    """Of each cell, row by row, its concepts that are on and how strongly, strongest first."""
    ordered, per_cell = strongest_first(found), found.cids.shape[-1]
    values, cids = (of.reshape(-1, per_cell) for of in (ordered.values, ordered.cids))
    on = (values > 0).sum(-1)
    pairs = zip(cids.tolist(), values.tolist(), on.tolist(), strict=True)
    return [list(zip(numbers[:n], strengths[:n], strict=True)) for numbers, strengths, n in pairs]


def facts_of(known: Concepts, found: Codes) -> dict[int, tuple[str | None, float]]:
    """CID -> label and largest activation, of the concepts that are on somewhere and that are known."""
    on = np.unique(found.cids[found.values > 0])
    return {cid: (one.label, one.act_max) for cid, one in known.among(on).items()}


def layouts(source: Source, view: SiteView, prompt_id: int, found: Codes) -> dict[str, list[int]]:
    """Label -> the cells where it is predicted, numbered row by row; none where a table cannot be read."""
    masks, _ = source.tried(lambda: view.layouts(prompt_id, found), dict[str, np.ndarray]())
    return {label: np.flatnonzero(mask).tolist() for label, mask in masks.items()}


def _neighbours(source: Source, prompt_id: int) -> list[tuple[str, str, str]]:
    """The images of the numbers before and after that were kept, as (name, way, address)."""
    kept = source.arrow("images", ["prompt_id"])["prompt_id"].to_numpy()  # ascending
    first, behind = np.searchsorted(kept, prompt_id), np.searchsorted(kept, prompt_id, "right")
    ways = [(other, "prev") for other in kept[max(first - 1, 0) : first]]
    ways += [(other, "next") for other in kept[behind : behind + 1]]
    return [(str(other), way, f"/image/{other}") for other, way in ways]
