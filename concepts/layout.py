"""Predicting a label's mask from concepts, and scoring the prediction (paper, section 4).

Predictions live on the grid; scores are exact at pixel level through the masks' areas in each cell. Shapes: cells C,
images I, active concepts K, embedding width E.

Five methods predict where a label is. ``concepts`` is the paper's; ``evidence`` ours, from the codes alone;
``posterior`` ours times the position's prior. ``position`` is that prior, the label's mean mask: the baseline that
looks at no activation. ``shuffled`` is ``posterior`` with another image's codes: the control.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from concepts.embeddings import concept_embeddings
from concepts.intervals import bootstrap_interval

METHODS = ("concepts", "evidence", "posterior", "position", "shuffled")
BASELINE = "position"
ALL_LABELS = "*"
N_THRESHOLDS = 48


def conceptual_map(values_CK: np.ndarray, indices_CK: np.ndarray, embeddings: np.ndarray, top: int) -> np.ndarray:
    """Embedding of each position, float32 [C, E]: its ``top`` strongest labelled concepts, weighted by their codes.

    ``embeddings`` [n, E] has NaN rows for concepts without a label; a position without labelled concepts is zero. All
    that are as strong as the weakest of the ``top`` enter.
    """
    labelled = ~np.isnan(embeddings[:, 0])
    weights = np.where(labelled[indices_CK], values_CK, 0.0)
    if weights.shape[1] > top:
        cut = np.partition(weights, -top, axis=1)[:, -top][:, None]
        weights = np.where(weights >= cut, weights, 0.0)
    return np.einsum("ck,cke->ce", weights, np.nan_to_num(embeddings)[indices_CK]).astype(np.float32)


def cosine_scores(map_CE: np.ndarray, label_vector: np.ndarray) -> np.ndarray:
    """Cosine of each position's embedding with a label's vector, [C]; -1 where the position has none."""
    norms = np.linalg.norm(map_CE, axis=1) * np.linalg.norm(label_vector)
    return np.where(norms > 0, map_CE @ label_vector / np.maximum(norms, 1e-12), -1.0)


def evidence_scores(values_CK: np.ndarray, indices_CK: np.ndarray, precision: np.ndarray) -> np.ndarray:
    """Our alternative, [C]: the mean of P(label | concept on), weighted by the codes; ``precision`` is [n].

    It needs no word vectors and uses every concept, labelled or not.
    """
    total = values_CK.sum(1)
    return (values_CK * precision[indices_CK]).sum(1) / np.maximum(total, 1e-12)


def position_scores(areas_IC: np.ndarray, cell_pixels: int) -> np.ndarray:
    """The baseline that looks at no activation, [C]: how much of each cell the label covers on average."""
    return areas_IC.mean(0) / cell_pixels


def ious(scores_IC: np.ndarray, areas_IC: np.ndarray, cell_pixels: int, threshold: float) -> np.ndarray:
    """IoU [I] of the cells with score >= threshold with each mask, at pixel level."""
    predicted = scores_IC >= threshold
    inter = (areas_IC * predicted).sum(1)
    union = areas_IC.sum(1) + predicted.sum(1) * cell_pixels - inter
    return inter / np.maximum(union, 1)


def fit_threshold(scores_IC: np.ndarray, areas_IC: np.ndarray, cell_pixels: int) -> float:
    """The threshold of highest mean IoU, among quantiles of the scores; fitted on the dictionary split only."""
    candidates = np.unique(np.quantile(scores_IC, np.linspace(0.0, 0.995, N_THRESHOLDS)))
    means = [ious(scores_IC, areas_IC, cell_pixels, t).mean() for t in candidates]
    return float(candidates[int(np.argmax(means))])


class Scored(NamedTuple):
    """One label in one image: its pixels int64 [C] in each cell, and float32 [C] the two scores that codes give it."""

    prompt_id: int
    label: str
    area_C: np.ndarray
    concepts_C: np.ndarray
    evidence_C: np.ndarray


class Scorer:
    """Scores every position of an image for its labels, from the codes of one dictionary of ``n_concepts``."""

    def __init__(
        self, columns: Mapping[str, np.ndarray], vectors: Mapping[str, np.ndarray], n_concepts: int, top: int
    ) -> None:
        """``columns`` are ``cid``, ``label``, ``precision`` and ``n_hit50`` of ``concept_labels``, of one length.

        ``vectors`` maps every label to [E]; ``top`` as for ``conceptual_map``.
        """
        self.n, self.vectors, self.top = n_concepts, vectors, top
        self.embeddings = concept_embeddings(columns, vectors, n_concepts)
        self._columns = columns
        self._rows = {label: np.flatnonzero(columns["label"] == label) for label in vectors}

    def precision(self, label: str) -> np.ndarray:
        """P(label | concept on), float64 [n]; 0 for a concept that never met the label, as most never do."""
        precision, rows = np.zeros(self.n), self._rows[label]
        precision[self._columns["cid"][rows]] = self._columns["precision"][rows]
        return precision

    def score(
        self, prompt_id: int, areas: Mapping[str, np.ndarray], values_CK: np.ndarray, latents_CK: np.ndarray
    ) -> Iterator[Scored]:
        """Each label of one image; ``areas`` maps it to its pixels [C] in each cell."""
        embedded_CE = conceptual_map(values_CK, latents_CK, self.embeddings, self.top)
        for label, area_C in areas.items():
            concepts_C = cosine_scores(embedded_CE, self.vectors[label])
            evidence_C = evidence_scores(values_CK, latents_CK, self.precision(label))
            yield Scored(prompt_id, label, area_C, concepts_C.astype(np.float32), evidence_C.astype(np.float32))


def first_images(scored: Iterable[Scored], limit: int) -> dict[str, list[Scored]]:
    """Label -> the first ``limit`` of its images, labels in the order in which they first occur."""
    first: dict[str, list[Scored]] = {}
    for one in scored:
        images = first.setdefault(one.label, [])
        if len(images) < limit:
            images.append(one)
    return first


@dataclass(frozen=True)
class Fitted:
    """What one label learnt from the dictionary split: its prior float64 [C] and each method's threshold.

    ``last_evidence_C`` is that of its last image: the codes of another image for the first that is tested.
    """

    prior_C: np.ndarray
    thresholds: dict[str, float]
    last_evidence_C: np.ndarray


def method_scores(
    prior_C: np.ndarray, concepts_IC: np.ndarray, evidence_IC: np.ndarray, others_IC: np.ndarray
) -> dict[str, np.ndarray]:
    """Method -> scores [I, C]; ``others_IC`` is the evidence that another image's codes give.

    The posterior is that of naive Bayes, up to a constant: codes and position taken as independent given the label.
    """
    return {
        "concepts": concepts_IC,
        "evidence": evidence_IC,
        "posterior": prior_C * evidence_IC,
        "position": np.broadcast_to(prior_C, evidence_IC.shape),
        "shuffled": prior_C * others_IC,
    }


def fit_label(images: Sequence[Scored], cell_pixels: int) -> Fitted:
    """Prior and thresholds from two images or more; the shuffled control reads each image by the one before it."""
    areas_IC = np.stack([one.area_C for one in images])
    evidence_IC = np.stack([one.evidence_C for one in images])
    prior_C = position_scores(areas_IC, cell_pixels)
    concepts_IC = np.stack([one.concepts_C for one in images])
    scores = method_scores(prior_C, concepts_IC, evidence_IC, np.roll(evidence_IC, 1, axis=0))
    thresholds = {method: fit_threshold(scores[method], areas_IC, cell_pixels) for method in METHODS}
    return Fitted(prior_C, thresholds, evidence_IC[-1])


def fit_labels(scored: Iterable[Scored], limit: int, minimum: int, cell_pixels: int) -> dict[str, Fitted]:
    """Label -> what its first ``limit`` images teach; labels in fewer than ``minimum`` of these are left out."""
    first = first_images(scored, limit)
    return {label: fit_label(images, cell_pixels) for label, images in first.items() if len(images) >= minimum}


@dataclass
class Predicted:
    """How well one label was predicted: the images of the test, and method -> IoU in each."""

    prompt_ids: list[int]
    ious: dict[str, list[float]]


def predict(scored: Iterable[Scored], fitted: Mapping[str, Fitted], cell_pixels: int) -> dict[str, Predicted]:
    """Label -> the IoUs of its images, for labels that are fitted. Nothing else of an image is kept."""
    predicted: dict[str, Predicted] = {}
    before = {label: one.last_evidence_C for label, one in fitted.items()}  # the shuffled control's codes
    for one in scored:
        if one.label not in fitted:
            continue
        learnt = fitted[one.label]
        rows_1C = (values[None] for values in (one.concepts_C, one.evidence_C, before[one.label]))
        scores, before[one.label] = method_scores(learnt.prior_C, *rows_1C), one.evidence_C
        of_label = predicted.setdefault(one.label, Predicted([], {method: [] for method in METHODS}))
        of_label.prompt_ids.append(one.prompt_id)
        for method in METHODS:
            iou_1 = ious(scores[method], one.area_C[None], cell_pixels, learnt.thresholds[method])
            of_label.ious[method].append(float(iou_1[0]))
    return predicted


def layout_rows(
    predicted: Mapping[str, Predicted], fitted: Mapping[str, Fitted], minimum: int, samples: int, seed: int
) -> list[dict[str, Any]]:
    """The rows of ``layout_scores`` but for the site: each label by each method, then all labels pooled.

    Labels in fewer than ``minimum`` images are left out. ``samples`` resamples of images are behind each interval.
    """
    kept = {label: predicted[label] for label in sorted(predicted) if len(predicted[label].prompt_ids) >= minimum}
    rows = [
        _row(label, method, fitted[label].thresholds[method], np.array(one.ious[method]), samples, seed)
        for label, one in kept.items()
        for method in METHODS
    ]
    if not kept:
        return rows
    means = image_means(kept)
    differences = {f"{m} - {BASELINE}": means[m] - means[BASELINE] for m in METHODS if m != BASELINE}
    return rows + [_row(ALL_LABELS, m, None, v, samples, seed) for m, v in (means | differences).items()]


def image_means(predicted: Mapping[str, Predicted]) -> dict[str, np.ndarray]:
    """Method -> each image's mean IoU over its labels, [images] in order of prompt ids, alike for all methods."""
    of_image: dict[int, dict[str, list[float]]] = {}
    for one in predicted.values():
        for number, prompt_id in enumerate(one.prompt_ids):
            values = of_image.setdefault(prompt_id, {method: [] for method in METHODS})
            for method in METHODS:
                values[method].append(one.ious[method][number])
    return {m: np.array([np.mean(of_image[prompt_id][m]) for prompt_id in sorted(of_image)]) for m in METHODS}


def _row(
    label: str, method: str, threshold: float | None, ious_I: np.ndarray, samples: int, seed: int
) -> dict[str, Any]:
    low, high = bootstrap_interval(ious_I, samples, seed)
    return {
        "label": label,
        "method": method,
        "threshold": threshold,
        "iou": float(np.mean(ious_I)),
        "iou_ci_low": low,
        "iou_ci_high": high,
        "n": len(ious_I),
    }
