"""Labelling: which concept fires where a labelled mask lies: one (site, k), its control and its shared relative.

Two streaming passes over the dictionary split. The first finds each concept's range (its maximum is the scale of
the binarised map), its density and its top images; the second counts overlaps exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from concepts.assign import assign
from concepts.embeddings import centre, concept_embeddings
from concepts.overlap import OverlapStats, activation_map_on, cell_areas
from sae.io import load_sae
from sae.model import SAE
from storage.tables import read_table, scan_batches
from tasks.embedder import label_vectors
from tasks.parts import publish
from tasks.scan import ConceptScan, image_codes
from tasks.segment import label_masks
from tasks.study import Site, Study, part_name, sae_folder, site_columns, split_range, store_of, unit_name
from tasks.train import SHARED, TRAINED, UNTRAINED


def label_concepts(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Write one SAE's ``concepts``, ``concept_labels`` and ``concept_examples`` parts."""
    folder = sae_folder(study, site, k)
    sae, control = load_sae(folder), load_sae(folder / UNTRAINED)
    scan = scan_concepts(study, site, sae)
    label_rows = _labels_of(study, site, k, sae, scan.act_max, TRAINED)
    concepts = _concept_rows(study, site, k, sae, scan, label_rows)
    assigned = sum(row["assigned"] for row in label_rows)
    label_rows += _labels_of(study, site, k, control, scan_concepts(study, site, control).act_max, UNTRAINED)
    shared_labels, shared = _shared_rows(study, site, k)
    columns = site_columns(site, k)
    examples = [{**columns, **row} for row in scan.example_rows()]
    tables = {
        "concepts": concepts,
        "concept_labels": label_rows + shared_labels,
        "concept_examples": examples,
        "shared_concepts": shared,
    }
    publish(study, "label", unit_name(site, k), tables, part_name(site, k))
    return {**columns, "assigned": assigned}


def _shared_rows(study: Study, site: Site, k: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Labels and ``shared_concepts`` rows of the SAE of all times, as it is at this site; none without such an SAE."""
    if not study.config.sae.across_time:
        return [], []
    sae = load_sae(sae_folder(study, site, k) / SHARED)
    scan = scan_concepts(study, site, sae)
    labels = _labels_of(study, site, k, sae, scan.act_max, SHARED)
    best = _top_labels(labels)
    wanted = ("cid", "alive", "density", "act_mean", "act_max", "n_images")
    rows = []
    for cid in range(sae.n):
        top = best.get(cid, {})
        row = {name: value for name, value in scan.concept_row(cid).items() if name in wanted}
        label = {"top_label": top.get("label"), "iou": top.get("iou"), "iou_heldout": top.get("iou_heldout")}
        rows.append({**site_columns(site, k), **row, **label})
    return labels, rows


def scan_concepts(study: Study, site: Site, sae: SAE) -> ConceptScan:
    """First pass: maxima, densities and example images over the dictionary split."""
    height, width, _ = store_of(study).shape(site)
    settings = study.config.labels
    scan = ConceptScan(sae.n, (height, width), settings.examples_per_concept, settings.bins)
    for _ids, values, indices in image_codes(study, site, sae, "dictionary"):
        scan.add_maxima(values, indices)
    for ids, values, indices in image_codes(study, site, sae, "dictionary"):
        scan.add_images(ids, values, indices)
    return scan


def _labels_of(study: Study, site: Site, k: int, sae: SAE, act_max: np.ndarray, kind: str) -> list[dict[str, Any]]:
    """Second pass: exact overlap statistics of every (concept, label) pair that was ever on together."""
    stats = overlap_statistics(study, site, sae, act_max)
    rows = assign(stats.rows(), study.config.labels)
    return [{**site_columns(site, k), "kind": kind, **row} for row in rows]


def overlap_statistics(study: Study, site: Site, sae: SAE, act_max: np.ndarray) -> OverlapStats:
    """Overlap counts of one SAE over the dictionary split, one shard of images in memory at a time."""
    height, width, _ = store_of(study).shape(site)
    settings = study.config.labels
    stats = OverlapStats(study_labels(study), sae.n, (height, width), settings.hit_iou)
    area = _image_area(study)
    for ids, values, indices in image_codes(study, site, sae, "dictionary"):
        masks = label_masks(study, ids[0], ids[-1] + 1)
        for row, prompt_id in enumerate(ids):
            # An image without any segment counts too: a concept that fires there is wrong there.
            areas = {label: cell_areas(mask, (height, width)) for label, mask in masks.get(prompt_id, {}).items()}
            on = activation_map_on(values[row], indices[row], act_max, settings.binarise_at)
            stats.add(prompt_id, on, areas, area)
    return stats


def _image_area(study: Study) -> int:
    """Pixels of an image; all images of a study have one size."""
    start, _ = split_range(study, "dictionary")
    sizes = read_table(study.root, "images", ["width", "height"], [("prompt_id", "==", start)]).to_pylist()
    return int(sizes[0]["width"] * sizes[0]["height"])


def study_labels(study: Study) -> list[str]:
    """Every label that occurs in the segments of the dictionary split, sorted."""
    start, stop = split_range(study, "dictionary")
    found: set[str] = set()
    filters = [("prompt_id", ">=", start), ("prompt_id", "<", stop)]
    for batch in scan_batches(study.root, "segments", ["label"], filters):
        found.update(batch.column("label").unique().to_pylist())
    return sorted(found)


def _concept_rows(
    study: Study, site: Site, k: int, sae: SAE, scan: ConceptScan, label_rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    labels = study_labels(study)
    vectors = centre(label_vectors(study, labels)) if labels else np.zeros((0, 1), np.float32)
    embeddings = concept_embeddings(label_rows, dict(zip(labels, vectors, strict=True)), sae.n)
    top = _top_labels(label_rows)
    with torch.no_grad():
        norms = sae.concept_vectors().norm(dim=1).numpy()
    columns = site_columns(site, k)
    return [
        {
            **columns,
            **scan.concept_row(cid),
            "top_label": top.get(cid, {}).get("label"),
            "embedding": None if np.isnan(embeddings[cid]).any() else embeddings[cid].tolist(),
            "decoder_norm": float(norms[cid]),
        }
        for cid in range(sae.n)
    ]


def _top_labels(label_rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The row of the assigned label of highest IoU of each concept that has one."""
    best: dict[int, dict[str, Any]] = {}
    for row in label_rows:
        if row["assigned"] and (row["cid"] not in best or row["iou"] > best[row["cid"]]["iou"]):
            best[row["cid"]] = row
    return best
