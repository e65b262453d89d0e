"""Layout: predict where each label of a prompt will be, from one site's codes, beside baselines and a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.effects import bootstrap_interval
from concepts.embeddings import centre, concept_embeddings
from concepts.layout import conceptual_map, cosine_scores, evidence_scores, fit_threshold, ious, position_scores
from concepts.overlap import cell_areas
from sae.io import load_sae
from sae.model import SAE
from storage.tables import read_table
from tasks.collect import prompts_of
from tasks.embedder import label_vectors
from tasks.label import study_labels
from tasks.parts import publish
from tasks.scan import image_codes
from tasks.segment import label_masks
from tasks.study import Site, Study, part_name, sae_folder, site_columns, split_range, store_of, unit_name
from vision.words import mentions

METHODS = ("concepts", "evidence", "posterior", "position", "shuffled")
ALL_LABELS = "*"


@dataclass
class Examples:
    """All images of one split that show one label: scores [I, cells] of each method and areas [I, cells]."""

    prompt_ids: list[int]
    areas: list[np.ndarray]
    scores: dict[str, list[np.ndarray]]


def score_layout(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Fit each method's threshold per label on the dictionary split, score on the layout split, write the rows.

    Only labels that the caption names are predicted, as in the paper. ``concepts`` is the paper's method; ``evidence``
    ours, from the codes alone; ``posterior`` ours times the position's prior. ``position`` is that prior, the label's
    mean mask: the baseline that looks at no activation. ``shuffled`` is ``posterior`` with another image's codes.
    """
    predictor = Predictor(study, site, k)
    fitting, testing = predictor.examples("dictionary"), predictor.examples("layout")
    minimum = study.config.layout.min_images
    rows: list[dict[str, Any]] = []
    per_image: dict[str, dict[int, list[float]]] = {method: {} for method in METHODS}
    for label in sorted(set(fitting) & set(testing)):
        if min(len(fitting[label].areas), len(testing[label].areas)) < minimum:
            continue
        for method, (threshold, values) in predictor.score_label(fitting[label], testing[label]).items():
            rows.append(_row(study, site, k, label, method, threshold, values))
            for prompt_id, value in zip(testing[label].prompt_ids, values, strict=True):
                per_image[method].setdefault(prompt_id, []).append(float(value))
    rows += _pooled(study, site, k, per_image)
    publish(study, "layout", unit_name(site, k), {"layout_scores": rows}, part_name(site, k))
    return {**site_columns(site, k), "labels": len(rows) // len(METHODS)}


class Predictor:
    """Scores of every method at one (site, k)."""

    def __init__(self, study: Study, site: Site, k: int) -> None:
        self.study, self.site, self.k = study, site, k
        self.sae: SAE = load_sae(sae_folder(study, site, k))
        self.labels = study_labels(study)
        self.grid = store_of(study).shape(site)[:2]
        vectors = centre(label_vectors(study, self.labels)) if self.labels else np.zeros((0, 1))
        self.vectors = dict(zip(self.labels, vectors, strict=True))
        rows = self._label_rows()
        self.embeddings = concept_embeddings(rows, self.vectors, self.sae.n)
        self.precision = np.zeros((len(self.labels), self.sae.n))
        for row in rows:
            self.precision[self.labels.index(row["label"]), row["cid"]] = row["precision"]
        self.cell_pixels = 0

    def _label_rows(self) -> list[dict[str, Any]]:
        block, t, conditioning = self.site
        filters = [("block", "==", block), ("t", "==", t), ("conditioning", "==", conditioning)]
        filters += [("k", "==", self.k), ("kind", "==", "trained")]
        return read_table(self.study.root, "concept_labels", filters=filters).to_pylist()

    def examples(self, split: str) -> dict[str, Examples]:
        """Label -> its images, for labels that caption and segments both name."""
        start, stop = split_range(self.study, split)
        captions = prompts_of(self.study, start, stop)["caption"].to_pylist()
        found: dict[str, Examples] = {}
        for ids, values, indices in image_codes(self.study, self.site, self.sae, split):
            masks = label_masks(self.study, ids[0], ids[-1] + 1)
            for row, prompt_id in enumerate(ids):
                named = {
                    label: mask
                    for label, mask in masks.get(prompt_id, {}).items()
                    if label in self.vectors and mentions(captions[prompt_id - start], label) and not mask.all()
                }
                if named:
                    self._add(found, prompt_id, named, values[row], indices[row])
        return found

    def _add(
        self, found: dict[str, Examples], prompt_id: int, masks: dict[str, np.ndarray], values: Any, indices: Any
    ) -> None:
        embedded = conceptual_map(values, indices, self.embeddings, self.study.config.layout.top_concepts)
        for label, mask in masks.items():
            entry = found.setdefault(label, Examples([], [], {"concepts": [], "evidence": []}))
            self.cell_pixels = mask.size // (self.grid[0] * self.grid[1])
            entry.prompt_ids.append(prompt_id)
            entry.areas.append(cell_areas(mask, self.grid))
            entry.scores["concepts"].append(cosine_scores(embedded, self.vectors[label]))
            precision = self.precision[self.labels.index(label)]
            entry.scores["evidence"].append(evidence_scores(values, indices, precision))

    def score_label(self, fitting: Examples, testing: Examples) -> dict[str, tuple[float, np.ndarray]]:
        """Method -> (threshold, IoU of each test image)."""
        fit_areas, test_areas = np.stack(fitting.areas), np.stack(testing.areas)
        prior = position_scores(fit_areas, self.cell_pixels)
        results = {}
        for method in METHODS:
            fit, test = (self._scores(method, examples, prior) for examples in (fitting, testing))
            threshold = fit_threshold(fit, fit_areas, self.cell_pixels)
            results[method] = threshold, ious(test, test_areas, self.cell_pixels, threshold)
        return results

    def _scores(self, method: str, examples: Examples, prior: np.ndarray) -> np.ndarray:
        """Scores [I, cells] of one method; evidence times prior is the naive Bayes posterior up to a constant."""
        if method == "position":
            return np.broadcast_to(prior, (len(examples.areas), len(prior)))
        if method == "concepts":
            return np.stack(examples.scores["concepts"])
        evidence = np.stack(examples.scores["evidence"])
        if method == "evidence":
            return evidence
        return prior * (np.roll(evidence, 1, axis=0) if method == "shuffled" else evidence)


def _row(
    study: Study, site: Site, k: int, label: str, method: str, threshold: float | None, values: np.ndarray
) -> dict[str, Any]:
    low, high = bootstrap_interval(values, study.config.layout.bootstrap, study.config.seed)
    return {
        **site_columns(site, k),
        "label": label,
        "method": method,
        "threshold": threshold,
        "iou": float(np.mean(values)),
        "iou_ci_low": low,
        "iou_ci_high": high,
        "n": len(values),
    }


def _pooled(study: Study, site: Site, k: int, per_image: dict[str, dict[int, list[float]]]) -> list[dict[str, Any]]:
    """Rows for all labels: each image's mean, images resampled; differences to ``position`` are paired by image."""
    ids = sorted(per_image["concepts"])
    if not ids:
        return []
    means = {m: np.array([np.mean(per_image[m][i]) for i in ids]) for m in METHODS}
    rows = [_row(study, site, k, ALL_LABELS, method, None, means[method]) for method in METHODS]
    for method in ("concepts", "evidence", "posterior", "shuffled"):
        difference = means[method] - means["position"]
        rows.append(_row(study, site, k, ALL_LABELS, f"{method} - position", None, difference))
    return rows
