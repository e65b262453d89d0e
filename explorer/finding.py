"""The search: what of a study a few letters, a number or an address may mean."""

from __future__ import annotations

import difflib
from typing import Any

import pyarrow.compute as pc

from explorer.addresses import at_of, label_url
from explorer.concept_page import captions_of
from explorer.missing import every_dictionary, known_labels
from explorer.source import Source

LONGEST = 200  # letters of a question that are looked at
COLUMNS = ("block", "t", "conditioning", "k")
LABELS, CONCEPTS, IMAGES, A_LABEL = 12, 100, 48, 4


def found(source: Source, question: str) -> dict[str, Any]:
    """What the template shows: labels with their best concepts, concepts of that number, images of those words."""
    asked = " ".join(question[:LONGEST].split())
    concepts, images = _numbered(source, asked)
    labels = _labels(source, asked)
    return {
        "question": asked,
        "labels": [{"label": label, "url": label_url(label), "best": _best(source, label)} for label in labels],
        "concepts": concepts,
        "images": images or _captioned(source, asked),
    }


def _labels(source: Source, asked: str) -> list[str]:
    """Labels that are the question or one of its words, then those that begin like it, hold it, or are spelt alike."""
    wanted, words = asked.casefold(), set(asked.casefold().split())
    known = list(known_labels(source))
    if not wanted or wanted.isdigit():
        return []
    folded = {label: label.casefold() for label in known}
    ordered = [
        *(label for label in known if folded[label] == wanted),
        *(label for label in known if folded[label] in words),
        *(label for label in known if folded[label].startswith(wanted)),
        *(label for label in known if wanted in folded[label]),
        *difflib.get_close_matches(wanted, known, LABELS, 0.7),
    ]
    return list(dict.fromkeys(ordered))[:LABELS]


def _best(source: Source, label: str) -> list[dict[str, Any]]:
    """The concepts that carry a label best, over all dictionaries."""
    columns = ["block", "t", "conditioning", "k", "cid", "iou_selection", "iou_heldout"]
    rows = source.rows("concept_labels", columns, label=label, kind="trained", assigned=True)
    rows.sort(key=lambda row: (-row["iou_selection"], *at_of(row).columns.values(), row["cid"]))
    return [{**row, "path": at_of(row).path, "url": at_of(row).url(row["cid"])} for row in rows[:A_LABEL]]


def _numbered(source: Source, asked: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For a number: the concepts that bear it, and the image; for an address as ``mid/0.50/cond/k10/507``: that one."""
    site, _, last = asked.strip("/").rpartition("/")
    if not (last.isascii() and last.isdigit() and len(last) <= 9):
        return [], []
    number = int(last)
    bearing = {at_of(row): row["top_label"] for row in source.rows("concepts", [*COLUMNS, "top_label"], cid=number)}
    concepts = [
        {"cid": number, "path": at.path, "url": at.url(number), "label": bearing[at]}
        for at in every_dictionary(source)
        if at in bearing and site in ("", at.path)
    ]
    captions = {} if site else captions_of(source, [number])
    images = [_image(number, captions[number], source)] if number in captions else []
    return concepts[:CONCEPTS], images


def _captioned(source: Source, asked: str) -> list[dict[str, Any]]:
    """Images whose captions hold every word of the question, kept ones first."""
    words = asked.casefold().split()
    if not words:
        return []
    prompts = source.arrow("prompts", ["prompt_id", "caption"])
    for word in words:
        prompts = prompts.filter(pc.match_substring(prompts["caption"], word, ignore_case=True))
    kept = _kept(source)
    found = sorted(prompts["prompt_id"].to_pylist(), key=lambda prompt_id: (prompt_id not in kept, prompt_id))[:IMAGES]
    captions = captions_of(source, found)
    return [_image(prompt_id, captions[prompt_id], source) for prompt_id in found]


def _image(prompt_id: int, caption: str, source: Source) -> dict[str, Any]:
    return {"prompt_id": prompt_id, "caption": caption, "kept": prompt_id in _kept(source)}


def _kept(source: Source) -> set[int]:
    return source.kept("kept images", lambda: set(source.arrow("images", ["prompt_id"])["prompt_id"].to_pylist()))
