"""Concepts as detectors of known labels: precision, recall, splitting and absorption against a truth.

Any dictionary enters as a non-negative feature matrix; which (feature, threshold) detects a label is chosen on one half
of the images and scored on the other, because the best of hundreds is flattered by the data it was chosen on.

Shape suffixes: N rows (images, or grid cells of images), C features, L labels, J thresholds, I images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from concepts.intervals import resampled_share

CELL_LEVELS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99, 0.995)
IMAGE_LEVELS = tuple(i / 50 for i in range(50))  # images are few, so finer steps cost nothing
SPLIT_GAIN = 0.03  # a further feature counts as a split if it lifts F1 by this much (Chanin et al. 2024)
MAX_SPLIT = 5


@dataclass(frozen=True)
class Choice:
    """The detector of each label: feature ``cid_L``, threshold number ``level_L`` and its F1 where it was chosen."""

    cid_L: np.ndarray
    level_L: np.ndarray
    f1_L: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A share and its 95 % interval, by resampling whole images."""

    value: float
    low: float
    high: float


def candidate_thresholds(z_NC: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """float32 [J, C]: quantiles of each feature's positive values. The first is 0: any activity at all.

    Level j of the rest is the quantile q_j over the positive values, so that sparse and dense features are cut alike.
    """
    n, count_C = len(z_NC), (z_NC > 0).sum(0)
    ordered = np.sort(z_NC, axis=0)
    cuts = np.zeros((len(levels), z_NC.shape[1]), np.float32)
    for j, level in enumerate(levels[1:], start=1):
        rank = np.minimum(n - count_C + (level * count_C).astype(int), n - 1)
        cuts[j] = np.maximum(ordered[rank, np.arange(z_NC.shape[1])], 0)
    return cuts


def count_hits(z_NC: np.ndarray, truth_NL: np.ndarray, cut_JC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(hits int64 [J, C, L], fires int64 [J, C]): rows where feature > threshold, with the label and in all."""
    truth = np.ascontiguousarray(truth_NL.T, np.float32)
    hits = np.empty((len(cut_JC), z_NC.shape[1], truth_NL.shape[1]), np.int64)
    fires = np.empty((len(cut_JC), z_NC.shape[1]), np.int64)
    for j, cut in enumerate(cut_JC):
        on = (z_NC > cut).astype(np.float32)  # a product of zeros and ones is exact in float32 below 2**24 rows
        hits[j], fires[j] = (truth @ on).T, on.sum(0)
    return hits, fires


def f1_score(hits: np.ndarray, fires: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """2 TP / (fires + positives); 0 where nothing fires and nothing is there."""
    return 2 * hits / np.maximum(fires + positives, 1)


def choose_detectors(hits_JCL: np.ndarray, fires_JC: np.ndarray, positives_L: np.ndarray) -> Choice:
    """The (feature, threshold) of largest F1 for each label; the first of equals."""
    f1_JCL = f1_score(hits_JCL, fires_JC[:, :, None], positives_L)
    flat = f1_JCL.reshape(-1, f1_JCL.shape[-1])
    best = flat.argmax(0)
    level, cid = np.divmod(best, f1_JCL.shape[1])
    return Choice(cid, level, flat[best, np.arange(flat.shape[1])])


def fires_on(z_NC: np.ndarray, cut_JC: np.ndarray, choice: Choice) -> np.ndarray:
    """bool [N, L]: where each label's detector fires."""
    return z_NC[:, choice.cid_L] > cut_JC[choice.level_L, choice.cid_L]


def image_sums(on_NL: np.ndarray, truth_NL: np.ndarray, rows_per_image: int) -> np.ndarray:
    """int64 [3, I, L]: hits, fires and positives of each image, the unit of resampling."""
    parts = np.stack([on_NL & truth_NL, on_NL, truth_NL])
    return parts.reshape(3, -1, rows_per_image, on_NL.shape[1]).sum(2, dtype=np.int64)


def estimates(sums_3IL: np.ndarray, weights_SI: np.ndarray) -> dict[str, list[Estimate]]:
    """Precision, recall and F1 of each label, then of their mean over labels as the last entry.

    A detector that never fires has precision 0. Where resampling would claim certainty, since nothing errs, the
    interval reaches as far as the exact binomial bound for as many trials as images.
    """
    point = _scores(sums_3IL.sum(1)[:, None])
    drawn = _scores(np.einsum("si,kil->ksl", weights_SI, sums_3IL))
    trials_3L = np.stack([(sums_3IL[1] > 0).sum(0), (sums_3IL[2] > 0).sum(0), (sums_3IL[2] > 0).sum(0)])
    return {
        name: [_estimate(point[row, 0, i], drawn[row, :, i], trials_3L[row, i]) for i in range(drawn.shape[2])]
        + [_estimate(point[row, 0].mean(), drawn[row].mean(1), len(sums_3IL[0]))]
        for row, name in enumerate(("precision", "recall", "f1"))
    }


def _scores(sums_3SL: np.ndarray) -> np.ndarray:
    hits, fires, positives = sums_3SL
    return np.stack([hits / np.maximum(fires, 1), hits / np.maximum(positives, 1), f1_score(hits, fires, positives)])


def _estimate(value: float, drawn: np.ndarray, trials: int) -> Estimate:
    return Estimate(float(value), *resampled_share(value, drawn, trials))


def splitting(z_NC: np.ndarray, truth_N: np.ndarray, cut_JC: np.ndarray, level_C: np.ndarray) -> list[int]:
    """The features that a label is split over: greedily, while one more lifts the F1 of "any fires" by ``SPLIT_GAIN``.

    ``level_C`` is each feature's own best threshold for the label. One feature means that the label is not split.
    """
    on_NC = z_NC > cut_JC[level_C, np.arange(z_NC.shape[1])]
    positives = truth_N.sum(keepdims=True)
    chosen: list[int] = []
    any_on, best = np.zeros(len(z_NC), bool), -SPLIT_GAIN
    while len(chosen) < MAX_SPLIT:
        joined = on_NC | any_on[:, None]
        f1_C = f1_score((joined & truth_N[:, None]).sum(0), joined.sum(0), positives)
        cid = int(f1_C.argmax())
        if f1_C[cid] < best + SPLIT_GAIN:
            break
        best, any_on = float(f1_C[cid]), joined[:, cid]
        chosen.append(cid)
    return chosen


def absorption(parent_on_N: np.ndarray, child_on_NK: np.ndarray, child_truth_NK: np.ndarray) -> tuple[int, int]:
    """(absorbed, base): where a child is there and its own detector says so, how often the parent's is silent.

    The measure of Chanin et al. (2024, "A is for Absorption"), whose parent there is a first letter: a dictionary that
    has "dog" may let its "animal" skip dogs.
    """
    found_N = (child_on_NK & child_truth_NK).any(1)
    return int((found_N & ~parent_on_N).sum()), int(found_N.sum())
