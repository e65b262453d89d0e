"""Layout: predict where each label of a prompt will be, from one site's codes, beside baselines and a control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.effects import bootstrap_interval
from concepts.embeddings import centre, concept_embeddings
from concepts.layout import conceptual_map, cosine_scores, evidence_scores, fit_threshold, ious, position_scores
from sae.model import SAE
from storage.tables import read_table
from tasks.codes import image_codes
from tasks.collect import prompts_of
from tasks.embedder import label_vectors
from tasks.label import study_labels
from tasks.overlaps import image_area
from tasks.parts import publish
from tasks.saes import sae_of
from tasks.segment import label_areas
from tasks.study import Site, Study, part_name, site_columns, split_range, store_of, unit_name
from vision.words import mentions

METHODS = ("concepts", "evidence", "posterior", "position", "shuffled")
ALL_LABELS = "*"


@dataclass
class Examples:
    """Images of one split that show one label: areas int [I, cells] and scores float32 [I, cells] of two methods."""

    prompt_ids: list[int]
    areas: list[np.ndarray]
    scores: dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Fitted:
    """What one label learnt from the dictionary split: its prior [cells] and each method's threshold."""

    prior: np.ndarray
    thresholds: dict[str, float]
    last_evidence: np.ndarray


def score_layout(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Fit each method's threshold per label on the dictionary split, score on the layout split, write the rows.

    Only labels that the caption names are predicted, as in the paper. ``concepts`` is the paper's method; ``evidence``
    ours, from the codes alone; ``posterior`` ours times the position's prior. ``position`` is that prior, the label's
    mean mask: the baseline that looks at no activation. ``shuffled`` is ``posterior`` with another image's codes.
    """
    predictor = Predictor(study, site, k)
    minimum = study.config.layout.min_images
    fitted = predictor.fit(minimum)
    scores = predictor.test(fitted)
    rows: list[dict[str, Any]] = []
    per_image: dict[str, dict[int, list[float]]] = {method: {} for method in METHODS}
    for label in sorted(scores):
        ids, of_methods = scores[label]
        if len(ids) < minimum:
            continue
        for method in METHODS:
            values = np.array(of_methods[method])
            rows.append(_row(study, site, k, label, method, fitted[label].thresholds[method], values))
            for prompt_id, value in zip(ids, values, strict=True):
                per_image[method].setdefault(prompt_id, []).append(float(value))
    rows += _pooled(study, site, k, per_image)
    publish(study, "layout", unit_name(site, k), {"layout_scores": rows}, part_name(site, k))
    return {**site_columns(site, k), "labels": len(rows) // len(METHODS)}


class Predictor:
    """Scores of every method at one (site, k)."""

    def __init__(self, study: Study, site: Site, k: int) -> None:
        self.study, self.site, self.k = study, site, k
        self.sae: SAE = sae_of(study, site, k)
        self.labels = study_labels(study)
        self.grid = store_of(study).shape(site)[:2]
        self.image_area = image_area(study)
        self.cell_pixels = self.image_area // (self.grid[0] * self.grid[1])
        vectors = centre(label_vectors(study, self.labels)) if self.labels else np.zeros((0, 1))
        self.vectors = dict(zip(self.labels, vectors, strict=True))
        columns = self._label_columns()
        self.embeddings = concept_embeddings(columns, self.vectors, self.sae.n)
        self.precision = {label: self._precision(columns, label) for label in self.labels}

    def _label_columns(self) -> dict[str, np.ndarray]:
        block, t, conditioning = self.site
        filters = [("block", "==", block), ("t", "==", t), ("conditioning", "==", conditioning)]
        filters += [("k", "==", self.k), ("kind", "==", "trained")]
        names = ["cid", "label", "precision", "n_hit50", "paper_assigned"]
        found = read_table(self.study.root, "concept_labels", names, filters)
        return {name: found[name].to_numpy(zero_copy_only=False) for name in names}

    def _precision(self, columns: dict[str, np.ndarray], label: str) -> tuple[np.ndarray, np.ndarray]:
        """(cids, P(label | concept on)) of one label, sparse: most concepts never meet most labels."""
        rows = columns["label"] == label
        return columns["cid"][rows], columns["precision"][rows]

    def fit(self, minimum: int) -> dict[str, Fitted]:
        """Label -> what its first images of the dictionary split teach; labels in fewer than ``minimum`` are left."""
        found = self.examples("dictionary", self.study.config.layout.fit_images)
        return {label: self._fit(e) for label, e in found.items() if len(e.areas) >= minimum}

    def _fit(self, examples: Examples) -> Fitted:
        areas = np.stack(examples.areas)
        prior = position_scores(areas, self.cell_pixels)
        evidence = np.stack(examples.scores["evidence"])
        scores = {
            "concepts": np.stack(examples.scores["concepts"]),
            "evidence": evidence,
            "posterior": prior * evidence,
            "position": np.broadcast_to(prior, areas.shape),
            "shuffled": prior * np.roll(evidence, 1, axis=0),
        }
        thresholds = {method: fit_threshold(scores[method], areas, self.cell_pixels) for method in METHODS}
        return Fitted(prior, thresholds, evidence[-1])

    def test(self, fitted: dict[str, Fitted]) -> dict[str, tuple[list[int], dict[str, list[float]]]]:
        """Label -> (prompt ids, method -> IoU of each image) over the layout split. Only the IoUs are kept."""
        found: dict[str, tuple[list[int], dict[str, list[float]]]] = {}
        before = {label: one.last_evidence for label, one in fitted.items()}  # the shuffled control's codes
        for prompt_id, label, area, concepts, evidence in self._scored("layout"):
            if label not in fitted:
                continue
            one = fitted[label]
            scores = {
                "concepts": concepts,
                "evidence": evidence,
                "posterior": one.prior * evidence,  # naive Bayes up to a constant
                "position": one.prior,
                "shuffled": one.prior * before[label],
            }
            before[label] = evidence
            ids, of_methods = found.setdefault(label, ([], {method: [] for method in METHODS}))
            ids.append(prompt_id)
            for method in METHODS:
                iou = ious(scores[method][None], area[None], self.cell_pixels, one.thresholds[method])
                of_methods[method].append(float(iou[0]))
        return found

    def examples(self, split: str, limit: int) -> dict[str, Examples]:
        """Label -> its first ``limit`` images, for labels that caption and segments both name."""
        found: dict[str, Examples] = {}
        for prompt_id, label, area, concepts, evidence in self._scored(split):
            entry = found.setdefault(label, Examples([], [], {"concepts": [], "evidence": []}))
            if len(entry.prompt_ids) < limit:
                entry.prompt_ids.append(prompt_id)
                entry.areas.append(area)
                entry.scores["concepts"].append(concepts)
                entry.scores["evidence"].append(evidence)
        return found

    def _scored(self, split: str) -> Iterator[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]]:
        """Every (prompt id, label) that caption and segments both name: areas [cells], and both scores [cells]."""
        start, stop = split_range(self.study, split)
        captions = prompts_of(self.study, start, stop)["caption"].to_pylist()
        for ids, values, latents in image_codes(self.study, self.site, self.sae, split):
            areas = label_areas(self.study, ids[0], ids[-1] + 1, self.grid)
            for row, prompt_id in enumerate(ids):
                named = {
                    label: area
                    for label, area in areas.get(prompt_id, {}).items()
                    if label in self.vectors
                    and mentions(captions[prompt_id - start], label)
                    and area.sum() < self.image_area
                }
                if named:
                    yield from self._scores(prompt_id, named, values[row], latents[row])

    def _scores(
        self, prompt_id: int, areas: dict[str, np.ndarray], values: np.ndarray, latents: np.ndarray
    ) -> Iterator[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]]:
        embedded = conceptual_map(values, latents, self.embeddings, self.study.config.layout.top_concepts)
        for label, area in areas.items():
            precision = np.zeros(self.sae.n)
            cids, shares = self.precision[label]
            precision[cids] = shares
            concepts = cosine_scores(embedded, self.vectors[label]).astype(np.float32)
            yield prompt_id, label, area, concepts, evidence_scores(values, latents, precision).astype(np.float32)


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
