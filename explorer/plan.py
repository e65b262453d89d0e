"""What an exported site holds: the address of every page, and the file that it becomes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from explorer.addresses import At, canonical, label_url
from explorer.bounds import LABELS
from explorer.compare_page import neighbouring
from explorer.edit_page import SHOWN_EDITS
from explorer.image_edits import most_edited
from explorer.label_layouts import all_first_images
from explorer.missing import concepts_of, every_dictionary, known_labels
from explorer.source import Source

EDITED = 2  # images that have a page because the study edited them: of eight images at most one
ODD = re.compile(r"[^a-z0-9_]+")


@dataclass(frozen=True)
class Plan:
    """``files``: address, as ``canonical`` has it, to file below the site's folder, in the order they are written.

    ``drawn``: the images in which pages of labels show layouts.
    """

    files: dict[str, str]
    concepts: dict[At, list[int]]
    images: list[int]
    drawn: list[int]
    held: str


def planned(source: Source, concepts: int, images: int, labels: int = LABELS) -> Plan:
    """At most so many concepts of each dictionary, images and labels, and the edits that are listed."""
    chosen = {at: best_concepts(source, at, concepts) for at in every_dictionary(source)}
    edited = most_edited(source, min(EDITED, images // 8))
    shown = sorted({*most_shown(source, chosen, images - len(edited)), *edited})
    edits = [str(row["edit"]) for row in source.atlas.kept_edits[:SHOWN_EDITS]]
    files = {"/": "index.html", "/search": "search.html", "/list": "list.html", "/compare": "compare.html"}
    files |= {"/edit": "edit.html"}
    files |= dict(_each_k(source, "/", "index"))
    named = list(known_labels(source))[:labels]
    for label, name in _names(named):
        files |= dict(_each_k(source, label_url(label), f"label/{name}"))
    files |= {canonical(url): f"compare/{n}.html" for n, (_, url) in enumerate(neighbouring(source))}
    files |= {canonical(f"/edit/{edit}"): f"edit/{name}.html" for edit, name in _names(edits)}
    files |= {canonical(at.url(cid)): f"concept/{at.path}/{cid}.html" for at, cids in chosen.items() for cid in cids}
    files |= {f"/image/{number}": f"image/{number}.html" for number in shown}
    return Plan(files, chosen, shown, all_first_images(source, named), _held(source, chosen, shown, edited, len(named)))


def best_concepts(source: Source, at: At, most: int) -> list[int]:
    """Concepts of a dictionary with evidence for a label: those that were given one first, then by selection IoU."""
    rows = source.atlas.rows(
        "concept_labels", ["cid", "assigned", "iou_selection"], {**at.columns, "kind": "trained"}
    ).to_pylist()
    best: dict[int, tuple[bool, float]] = {}
    for row in rows:
        best[row["cid"]] = max(best.get(row["cid"], (False, 0.0)), (row["assigned"], row["iou_selection"]))
    there = concepts_of(source, at)
    ranked = sorted((cid for cid in best if cid in there), key=lambda cid: (not best[cid][0], -best[cid][1], cid))
    return ranked[:most]


def most_shown(source: Source, chosen: dict[At, list[int]], most: int) -> list[int]:
    """The kept images that are among the strongest of most of these concepts, in their own order."""
    kept = set(source.arrow("images", ["prompt_id"])["prompt_id"].to_pylist())
    shown: Counter[int] = Counter()
    for at, cids in chosen.items():
        rows = source.atlas.rows("concept_examples", ["prompt_id"], {**at.columns, "cid": cids, "bin": 0})
        shown.update(number for number in rows["prompt_id"].to_pylist() if number in kept)
    return sorted(sorted(shown, key=lambda number: (-shown[number], number))[:most])


def _each_k(source: Source, address: str, name: str) -> Iterator[tuple[str, str]]:
    """The page itself, and where a study has several k its page for each of them; for the first, the same file."""
    yield canonical(address), f"{name}.html"
    for n, k in enumerate(source.atlas.ks if len(source.atlas.ks) > 1 else ()):
        yield canonical(f"?k={k}", address), f"{name}-k{k}.html" if n else f"{name}.html"


def _names(words: list[str]) -> Iterator[tuple[str, str]]:
    """A file's name for each: its letters and digits, with a number behind it where another is called alike."""
    taken: Counter[str] = Counter()
    for word in words:
        name = ODD.sub("-", word.casefold()).strip("-")[:60] or "label"
        taken[name] += 1
        yield word, name if taken[name] == 1 else f"{name}--{taken[name]}"


def _held(source: Source, chosen: dict[At, list[int]], shown: list[int], edited: list[int], named: int) -> str:
    """What of the study has a page, in words."""
    there = sum(len(concepts_of(source, at)) for at in chosen)
    more = f", {len(edited)} of them for being edited most by the study" if edited else ""
    labels, most = len(known_labels(source)), max((len(cids) for cids in chosen.values()), default=0)
    some = f"{named:,} of {labels:,} labels, those that most images show"
    return (
        f"{some if named < labels else f'All {labels} labels'}; {sum(map(len, chosen.values())):,} of {there:,} "
        f"concepts: of each dictionary at most {most}, those that were given a label first, then those that overlap "
        f"most with one; {len(shown)} images, those that are among the strongest of most of these concepts{more}."
    )
