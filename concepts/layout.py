"""Predicting a label's mask from concepts, and scoring the prediction (paper, section 4).

Predictions live on the grid; scores are exact at pixel level through the masks' areas in each cell. Shapes: cells C,
images I, active concepts K, embedding width E.
"""

from __future__ import annotations

import numpy as np

N_THRESHOLDS = 48


def conceptual_map(values_CK: np.ndarray, indices_CK: np.ndarray, embeddings: np.ndarray, top: int) -> np.ndarray:
    """Embedding of each position, float32 [C, E]: its ``top`` strongest labelled concepts, weighted by their codes.

    ``embeddings`` [n, E] has NaN rows for concepts without a label; a position without labelled concepts is zero.
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
