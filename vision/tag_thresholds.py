"""TagThreshold zero-shot thresholds: for each label, the cut of its scores that agrees best with known presence.

One threshold does not suit all labels: a score of 0.3 is high for one word and low for another. Presence may come
from captions, as here, or from a user's own annotations. Everything is a pure function of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vision.errors import VisionError
from vision.words import mentions


@dataclass(frozen=True)
class TagThreshold:
    """A label's threshold in [0, 1] (None: the global one), its F1 on the data it was chosen on, and its positives."""

    label: str
    threshold: float | None
    f1: float | None
    positives: int


def presence_from_captions(captions: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """bool [captions, labels]: whether the caption names the label. What a caption omits counts as absent."""
    named = [mentions(caption, label) for caption in captions for label in labels]
    return np.array(named, bool).reshape(len(captions), len(labels))


def best_threshold(scores: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Threshold t of largest F1 for "present where score >= t", and that F1.

    ``scores`` float [N], ``present`` bool [N] with at least one True (ValueError). Every distinct score is a cut and
    no other cut decides differently, so the optimum is exact; of equal ones the highest cut is taken.
    """
    if not present.any():
        raise ValueError("best_threshold needs at least one positive")
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    hits = np.cumsum(present[order])
    last_of_tie = np.append(falling[1:] != falling[:-1], True)
    cuts = np.flatnonzero(last_of_tie)
    f1 = 2 * hits[cuts] / (cuts + 1 + present.sum())
    best = int(np.argmax(f1))
    return float(falling[cuts[best]]), float(f1[best])


def fit_thresholds(
    scores: np.ndarray, present: np.ndarray, labels: Sequence[str], min_positives: int = 20
) -> list[TagThreshold]:
    """One threshold for each label from scores float [N, L] in [0, 1] and presence bool [N, L].

    A label with fewer than ``min_positives`` positives keeps the global threshold: the best cut of a handful is
    mostly luck. Raises ``VisionError`` if the shapes differ or a score is NaN or outside [0, 1].
    """
    if scores.shape != present.shape or scores.ndim != 2 or scores.shape[1] != len(labels):
        raise VisionError(
            f"scores {list(scores.shape)} and presence {list(present.shape)} must both be "
            f"[images, {len(labels)} labels]"
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise VisionError("scores hold NaN or values outside [0, 1]: give the tagger's probabilities")
    return [
        _of_label(label, scores[:, column].astype(float), present[:, column].astype(bool), max(min_positives, 1))
        for column, label in enumerate(labels)
    ]


def _of_label(label: str, scores: np.ndarray, present: np.ndarray, min_positives: int) -> TagThreshold:
    positives = int(present.sum())
    if positives < min_positives:
        return TagThreshold(label, None, None, positives)
    return TagThreshold(label, *best_threshold(scores, present), positives)
