"""Predicting a label's mask from concepts, and scoring the prediction (paper, section 4).

Predictions live on the grid; scores are exact at pixel level through the masks' areas in each cell. Shapes: cells C,
images I, active concepts K, embedding width E.

Four methods predict from codes where a label is. ``concepts`` is the paper's; ``evidence`` ours, from the codes alone;
``posterior`` ours times the position's prior, the label's mean mask. ``shuffled`` is ``posterior`` with another image's
codes: the control. What predicts without a dictionary is in ``concepts.layout_alone`` and ``concepts.probes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from concepts.embeddings import concept_embeddings

METHODS = ("concepts", "evidence", "posterior", "shuffled")
N_THRESHOLDS = 48


class Masks(NamedTuple):
    """One label in several images: their prompt ids int64 [I], and its pixels in each cell, int64 [I, C]."""

    prompt_ids: np.ndarray
    areas_IC: np.ndarray


class Outcome(NamedTuple):
    """How well a method predicts one label: its threshold, and its IoU float64 [I] in each image tested."""

    threshold: float
    ious: np.ndarray


def conceptual_map(values_CK: np.ndarray, indices_CK: np.ndarray, embeddings: np.ndarray, top: int) -> np.ndarray:
    """Embedding of each position, float32 [C, E]: its ``top`` strongest labelled concepts, weighted by their codes.

    ``embeddings`` [n, E] has NaN rows for concepts without a label; a position without labelled concepts is zero. All
    that are as strong as the weakest of the ``top`` enter.
    """
    return _mapped(values_CK, indices_CK, ~np.isnan(embeddings[:, 0]), np.nan_to_num(embeddings), top)


def _mapped(
    values_CK: np.ndarray, indices_CK: np.ndarray, labelled: np.ndarray, embeddings: np.ndarray, top: int
) -> np.ndarray:
    """The same, given who is ``labelled``, bool [n], and embeddings that are 0 for those who are not."""
    weights = np.where(labelled[indices_CK], values_CK, 0.0)
    if weights.shape[1] > top:
        cut = np.partition(weights, -top, axis=1)[:, -top][:, None]
        weights = np.where(weights >= cut, weights, 0.0)
    return np.einsum("ck,cke->ce", weights, embeddings[indices_CK]).astype(np.float32)


def cosine_scores(map_CE: np.ndarray, label_vector: np.ndarray) -> np.ndarray:
    """Cosine of each position's embedding with a label's vector, [C]; -1 where the position has none."""
    return _cosines(map_CE, np.linalg.norm(map_CE, axis=1), label_vector)


def _cosines(map_CE: np.ndarray, norms_C: np.ndarray, label_vector: np.ndarray) -> np.ndarray:
    norms = norms_C * np.linalg.norm(label_vector)
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


def ious(scores_IC: np.ndarray, areas_IC: np.ndarray, cell_pixels: int, threshold: float | np.ndarray) -> np.ndarray:
    """IoU [I] of the cells with score >= threshold, one or [I, 1], with each mask (or the only one), at pixel level."""
    predicted = scores_IC >= threshold
    inter = (areas_IC * predicted).sum(1)
    union = areas_IC.sum(1) + predicted.sum(1) * cell_pixels - inter
    return inter / np.maximum(union, 1)


def fit_threshold(scores_IC: np.ndarray, areas_IC: np.ndarray, cell_pixels: int) -> float:
    """The threshold of highest mean IoU, among quantiles of the scores; fitted on the dictionary split only."""
    candidates = np.unique(np.quantile(scores_IC, np.linspace(0.0, 0.995, N_THRESHOLDS)))
    means = _ious_of_all(scores_IC, areas_IC, cell_pixels, candidates).mean(0)
    return float(candidates[int(np.argmax(means))])


def _ious_of_all(scores_IC: np.ndarray, areas_IC: np.ndarray, cell_pixels: int, candidates_T: np.ndarray) -> np.ndarray:
    """IoU [I, T] at every threshold, these ascending: each cell is looked at once, for the last that it reaches."""
    images, bins = len(scores_IC), len(candidates_T) + 1
    reached_IC = np.searchsorted(candidates_T, scores_IC, side="right") + bins * np.arange(images)[:, None]

    def above(weights_IC: np.ndarray | None) -> np.ndarray:
        weights = None if weights_IC is None else weights_IC.ravel()
        counted = np.bincount(reached_IC.ravel(), weights, images * bins).reshape(images, bins)
        return counted[:, :0:-1].cumsum(1)[:, ::-1]

    inter_IT = above(areas_IC)
    union_IT = areas_IC.sum(1)[:, None] + above(None) * cell_pixels - inter_IT
    return inter_IT / np.maximum(union_IT, 1)


def fit_choice(candidates: Sequence[np.ndarray], areas_IC: np.ndarray, cell_pixels: int) -> tuple[int, float]:
    """Of several ways to score the same images [I, C], the first of highest mean IoU, each at its best threshold."""
    thresholds = [fit_threshold(scores_IC, areas_IC, cell_pixels) for scores_IC in candidates]
    means = [
        ious(scores_IC, areas_IC, cell_pixels, threshold).mean()
        for scores_IC, threshold in zip(candidates, thresholds, strict=True)
    ]
    best = int(np.argmax(means))
    return best, thresholds[best]


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
        embeddings = concept_embeddings(columns, vectors, n_concepts)
        self._labelled, self._embeddings = ~np.isnan(embeddings[:, 0]), np.nan_to_num(embeddings)
        self._columns = columns
        self._rows = {label: np.flatnonzero(columns["label"] == label) for label in vectors}
        self._precision: dict[str, np.ndarray] = {}

    def precision(self, label: str) -> np.ndarray:
        """P(label | concept on), float64 [n]; 0 for a concept that never met the label, as most never do."""
        if label not in self._precision:
            precision, rows = np.zeros(self.n), self._rows[label]
            precision[self._columns["cid"][rows]] = self._columns["precision"][rows]
            self._precision[label] = precision
        return self._precision[label]

    def score(
        self, prompt_id: int, areas: Mapping[str, np.ndarray], values_CK: np.ndarray, latents_CK: np.ndarray
    ) -> Iterator[Scored]:
        """Each label of one image; ``areas`` maps it to its pixels [C] in each cell."""
        embedded_CE = _mapped(values_CK, latents_CK, self._labelled, self._embeddings, self.top)
        norms_C = np.linalg.norm(embedded_CE, axis=1)
        for label, area_C in areas.items():
            concepts_C = _cosines(embedded_CE, norms_C, self.vectors[label])
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
        scores_MC = np.concatenate([scores[method] for method in METHODS])
        thresholds_M = np.array([learnt.thresholds[method] for method in METHODS])
        ious_M = ious(scores_MC, one.area_C[None], cell_pixels, thresholds_M[:, None])
        for method, iou in zip(METHODS, ious_M.tolist(), strict=True):
            of_label.ious[method].append(iou)
    return predicted
