"""A label's page: how well it is carried through time, by which concepts, its layouts, its edits, its images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import concept_atlas
from explorer.addresses import at_of
from explorer.detectors import COLUMNS as DETECTED
from explorer.detectors import detectors
from explorer.figure import KINDS, METHODS, Figure, Row, figure, method_of, over_time
from explorer.home import edit_figure
from explorer.label_layouts import predicted
from explorer.missing import images_of, known_labels, label_of
from explorer.source import Source

BEST, IMAGES = 3, 24
Z95 = 1.959964  # of a normal distribution: half of a 95 % interval, in standard errors
PLACE = ("block", "t", "conditioning", "kind")
COLUMNS = ("iou_selection", "iou_heldout", "ceiling", "precision", "recall", "lift", "q_value", "assigned")
READ = ("block", "t", "conditioning", "k", "kind", "cid", "iou_heldout_se", *COLUMNS)
EVIDENCE = f"select {', '.join(READ)} from concept_labels where label = ? and k = ? and kind in {KINDS}"
LEARNT = "evidence"  # the method whose threshold pictures of layouts are drawn by
LAYOUTS = ("block", "t", "conditioning", "method", "iou", "iou_ci_low", "iou_ci_high", "threshold")


def label_page(source: Source, text: str, asked_k: str) -> dict[str, Any]:
    """What the template shows. Raises ``Missing`` for a label that the study does not have."""
    label = label_of(source, text)
    ks = source.atlas.ks
    k = int(asked_k) if asked_k in map(str, ks) else ks[0]
    evidence = strongest(source.labelled(EVIDENCE, label, k))
    layouts, torn = source.tried(lambda: _layout_rows(source, label, k), list[Row]())
    learnt = [row for row in layouts if row["method"] == LEARNT]
    detected, undetected = source.tried(lambda: detectors(source, label, k), {"missing": "", "tables": []})
    return {
        "label": label,
        "k": k,
        "ks": ks,
        "carried": source.tried(lambda: _carried(source, evidence), None),
        "layouts": (None, torn) if torn else source.tried(lambda: _layouts(source, layouts), None),
        "predicted": source.tried(lambda: predicted(source, label, k, learnt), None),
        "edits": source.tried(lambda: _edits(source, label), None),
        "detectors": {**detected, "missing": undetected or detected["missing"]},
        "detector_columns": DETECTED,
        "detector_meanings": concept_atlas.meanings("bench"),
        "sites": _best(source, evidence),
        "columns": COLUMNS,
        "meanings": concept_atlas.meanings("concept_labels"),
        "n_images": known_labels(source)[label],
        "images": images_of(source, label)[:IMAGES],
    }


def strongest(evidence: pa.Table) -> list[Row]:
    """The ``BEST`` rows of every site and kind by the half that chooses, best first: a label may have 30,000 in all."""
    places_RP = np.stack([_ranked(evidence[name]) for name in PLACE], 1)
    order_R = np.lexsort((evidence["cid"].to_numpy(), -evidence["iou_selection"].to_numpy(), *places_RP.T[::-1]))
    changes_R = np.any(np.diff(places_RP[order_R], axis=0, prepend=-1) != 0, axis=1)
    first = np.flatnonzero(changes_R)  # of every site and kind
    ranks_R = np.arange(len(order_R)) - np.repeat(first, np.diff(first, append=len(order_R)))
    return list(evidence.take(pa.array(order_R[ranks_R < BEST])).to_pylist())


def _ranked(values: pa.ChunkedArray) -> np.ndarray:
    """int64 [rows]: the rank of each value among all that occur; strings are slow to sort row by row."""
    coded = values.combine_chunks().dictionary_encode()
    return np.asarray(pc.rank(coded.dictionary).to_numpy()[coded.indices.to_numpy()], np.int64)


def _carried(source: Source, evidence: list[Row]) -> Figure:
    """Held-out IoU of the concept that was best on the other half, for each kind of dictionary."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in evidence:
        key = (row["block"], row["t"], row["conditioning"], row["kind"])
        best.setdefault(key, row)  # best first
    rows = [{**row, **_interval(row)} for row in best.values()]
    panels, axis = over_time(source, rows, KINDS, lambda row: str(row["kind"]), ("iou_heldout", "low", "high"))
    told = (
        "IoU with the label of the concept that is best on one half of the images, on the other half, "
        "with 95 % intervals; a control is left out where it finds nothing."
    )
    return figure("Carried over time", told, "concept_labels", "held-out IoU", panels, axis)


def _interval(row: Row) -> dict[str, float | None]:
    iou, error = row["iou_heldout"], row["iou_heldout_se"]
    if iou is None or error is None:
        return {"low": None, "high": None}
    return {"low": max(iou - Z95 * error, 0.0), "high": min(iou + Z95 * error, 1.0)}


def _layout_rows(source: Source, label: str, k: int) -> list[Row]:
    return source.rows("layout_scores", list(LAYOUTS), label=label, k=k, kind="trained", method=[*METHODS, LEARNT])


def _layouts(source: Source, rows: list[Row]) -> Figure:
    shown = [row for row in rows if row["method"] in METHODS]
    panels, axis = over_time(source, shown, METHODS, method_of, ("iou", "iou_ci_low", "iou_ci_high"))
    told = "IoU of the label's predicted mask with that of the finished image, with 95 % intervals."
    found = figure("Layouts predicted", told, "layout_scores", "IoU of layouts", panels, axis)
    if found.missing and source.arrow("layout_scores", ["label"], label="*").num_rows:
        return replace(found, missing="None of this label: it is in too few images, or fills those that it is in.")
    return found


def _edits(source: Source, label: str) -> Figure | None:
    """Edits towards the label, where the study makes any."""
    if not source.rows("intervention_effects", ["target"], target=label):
        return None
    return edit_figure(source, label, "Edits", "Share of cases, not fulfilled before, in which an edit brings it; ")


def _best(source: Source, evidence: list[Row]) -> list[dict[str, Any]]:
    """The best concepts of each site's own dictionary, by the half that chooses."""
    sites = []
    for site in source.atlas.sites:
        here = [
            row
            for row in evidence
            if row["kind"] == "trained"
            and (row["block"], row["t"], row["conditioning"]) == (site.block, site.t, site.conditioning)
        ]
        if here:
            at = at_of(here[0])
            sites.append({"path": at.path, "rows": [{**row, "url": at.url(row["cid"])} for row in here]})
    return sites
