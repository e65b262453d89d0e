"""The search: what of a study a few letters, a number or an address may mean."""

from __future__ import annotations

import difflib
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from explorer.addresses import At, at_of, canonical, label_url
from explorer.list_page import COLUMNS as EVIDENCE
from explorer.missing import best_carrying, concepts_of, every_dictionary, known_labels, prompts_of
from explorer.source import Source

LONGEST = 200  # letters of a question that are looked at
COLUMNS = ("block", "t", "conditioning", "k")
LABELS, CONCEPTS, IMAGES, MEANT = 12, 100, 48, 8


def found(source: Source, question: str) -> dict[str, Any]:
    """What the template shows: labels with their best concepts, concepts of that number, images of those words."""
    asked = _words(question)
    concepts, images = _numbered(source, asked)
    labels = _labels(source, asked)
    return {
        "question": asked,
        "labels": [_carried(source, label) for label in labels],
        "concepts": concepts,
        "images": images or _captioned(source, asked),
        "meaning": "" if concepts or asked.isdigit() else meaning_url(asked),
    }


def meaning_url(asked: str) -> str:
    """Where a page asks for the labels nearest in meaning to words; nothing for no words."""
    return f"/search/meaning?{urlencode({'q': asked})}" if asked else ""


def meant(source: Source, question: str) -> dict[str, Any]:
    """The labels nearest to the question in meaning, by the study's embedder; the first call loads it.

    Raises ``AtlasError`` where it is not at hand, or cannot read the words.
    """
    asked = _words(question)
    found = source.atlas.nearest_labels(asked, MEANT, source.models) if asked else []
    return {"labels": [{**_carried(source, label), "cosine": cosine} for label, cosine in found]}


def _words(question: str) -> str:
    """Of a question what is looked at, one blank between its words."""
    return " ".join(question[:LONGEST].split())


def index_of(
    source: Source, files: dict[str, str], concepts: dict[At, list[int]], pictures: dict[int, str]
) -> dict[str, Any]:
    """What the search and the lists of an exported site know, as offline/places.js reads it.

    ``files``: address to file of every page; ``concepts``: those of each dictionary that have one; ``pictures``: the
    files of images.
    """
    prompts, kept = prompts_of(source), set(_kept(source).tolist())
    captioned = zip(prompts["prompt_id"].to_pylist(), prompts["caption"].to_pylist(), strict=True)
    labels = []
    for label in known_labels(source):
        if file := files.get(canonical(label_url(label))):
            best = [[row["path"], row["cid"], row["iou_heldout"]] for row in _best(source, label)]
            labels.append([label, file, best])
    return {
        "labels": labels,
        "concepts": {at.path: _evidence(source, at, cids) for at, cids in concepts.items()},
        "images": [
            [number, caption, pictures.get(number), number in kept, files.get(f"/image/{number}")]
            for number, caption in captioned
        ],
    }


def _evidence(source: Source, at: At, cids: list[int]) -> list[list[Any]]:
    """Of concepts: number, the label that each was given, and what a list tells of its best label."""
    rows = source.atlas.rows(
        "concept_labels",
        ["cid", "assigned", *EVIDENCE],
        {**at.columns, "kind": "trained", "cid": cids},
    ).to_pylist()
    rows.sort(key=lambda row: (row["assigned"], row["iou_selection"]))
    best = {row["cid"]: row for row in rows}  # the best one stands last, and stays
    given = concepts_of(source, at)
    return [[cid, given[cid][0], *(best[cid][name] for name in EVIDENCE)] for cid in sorted(cids)]


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


def _carried(source: Source, label: str) -> dict[str, Any]:
    """What a list says of a label, and the concepts that carry it best."""
    return {"label": label, "url": label_url(label), "best": _best(source, label)}


def _best(source: Source, label: str) -> list[dict[str, Any]]:
    """The concepts that carry a label best, over all dictionaries."""
    rows = best_carrying(source, label)
    return [{**row, "path": at_of(row).path, "url": at_of(row).url(row["cid"])} for row in rows]


def _numbered(source: Source, asked: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """For a number: the concepts that bear it, and the image; for an address as ``mid/0.50/cond/k10/507``: that one."""
    site, _, last = asked.strip("/").rpartition("/")
    if not (last.isascii() and last.isdigit() and len(last) <= 9):
        return [], []
    number = int(last)
    bearing = {at_of(row): row["top_label"] for row in source.numbered(number, [*COLUMNS, "top_label"])}
    concepts = [
        {"cid": number, "path": at.path, "url": at.url(number), "label": bearing[at]}
        for at in every_dictionary(source)
        if at in bearing and site in ("", at.path)
    ]
    prompts = prompts_of(source)
    images = [] if site else _images(source, prompts.filter(pc.equal(prompts["prompt_id"], number)))
    return concepts[:CONCEPTS], images


def _captioned(source: Source, asked: str) -> list[dict[str, Any]]:
    """Images whose captions hold every word of the question, kept ones first."""
    words = asked.casefold().split()
    if not words:
        return []
    prompts = prompts_of(source)
    for word in words:
        prompts = prompts.filter(pc.match_substring(prompts["caption"], word, ignore_case=True))
    found = prompts["prompt_id"].to_numpy()  # ascending
    kept = np.isin(found, _kept(source))
    first = np.concatenate([np.flatnonzero(kept)[:IMAGES], np.flatnonzero(~kept)[:IMAGES]])[:IMAGES]
    return _images(source, prompts.take(first))


def _images(source: Source, prompts: pa.Table) -> list[dict[str, Any]]:
    """What a list says of the images of some prompts."""
    kept = np.isin(prompts["prompt_id"].to_numpy(), _kept(source)).tolist()
    rows = zip(prompts["prompt_id"].to_pylist(), prompts["caption"].to_pylist(), kept, strict=True)
    return [{"prompt_id": prompt_id, "caption": caption, "kept": there} for prompt_id, caption, there in rows]


def _kept(source: Source) -> np.ndarray:
    """Prompts whose image there is, int64 [images]."""
    return source.arrow("images", ["prompt_id"])["prompt_id"].to_numpy()
