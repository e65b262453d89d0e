"""Is the concept that detects a label best also the one that brings it about? Rank correlation, and best beside best.

For language models the two are different things (arXiv 2505.20063).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from concepts.intervals import percentiles

FEWEST = 3  # concepts: of two the rank correlation is 1 or -1
GROUP = ("kind", "window", "block", "t", "conditioning", "k")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("kind", "window", "block")),
        *(("t", pa.float64()), ("conditioning", pa.string()), ("k", pa.int64()), ("concepts", pa.int64())),
        *((name, pa.float64()) for name in ("spearman", "spearman_ci_low", "spearman_ci_high")),
        *(("labels", pa.int64()), ("best_is_best", pa.float64()), ("chance", pa.float64())),
    ]
)


def detection_and_cause(rows: Iterable[Mapping[str, Any]], samples: int, seed: int) -> list[dict[str, Any]]:
    """A row of ``SCHEMA`` for each kind of edit, window and site, of rows of the view ``concept_scores``.

    ``spearman``: of ``iou_heldout`` and ``above_random`` over concepts, with its 95 % interval, concepts resampled;
    ``best_is_best``: of the ``labels`` that several concepts carry, the share whose best detector is also their best
    cause; ``chance``: what that would be if one were drawn. Concepts without one of the two numbers are left out.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["iou_heldout"] is not None and row["above_random"] is not None:
            groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    return [
        {
            **dict(zip(GROUP, group, strict=True)),
            "concepts": len(own),
            **_ranks(_values(own, "iou_heldout"), _values(own, "above_random"), samples, seed),
            **_best(own),
        }
        for group, own in sorted(groups.items())
    ]


def _values(rows: list[Mapping[str, Any]], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows], float)


def _ranks(detects_N: np.ndarray, causes_N: np.ndarray, samples: int, seed: int) -> dict[str, float | None]:
    """None where there are too few, or all are alike."""
    if len(detects_N) < FEWEST or np.isnan(rho := float(rank_correlations(detects_N[None], causes_N[None])[0])):
        return dict.fromkeys(("spearman", "spearman_ci_low", "spearman_ci_high"))
    drawn = np.random.default_rng(seed).integers(len(detects_N), size=(samples, len(detects_N)))
    found = rank_correlations(detects_N[drawn], causes_N[drawn])
    low, high = percentiles(found[~np.isnan(found)])  # a resample of equal values has no order to compare
    return {"spearman": rho, "spearman_ci_low": low, "spearman_ci_high": high}


def rank_correlations(ones_SN: np.ndarray, others_SN: np.ndarray) -> np.ndarray:
    """Spearman's, float64 [S], row by row; ties have their mean rank; nan where a row of either is constant."""
    first, second = (rankdata(values, axis=1) for values in (ones_SN, others_SN))
    first, second = (ranks - ranks.mean(1, keepdims=True) for ranks in (first, second))
    size = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    return np.divide((first * second).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)


def _best(rows: list[Mapping[str, Any]]) -> dict[str, float | int | None]:
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_label.setdefault(row["label"], []).append(row)
    several = [own for own in by_label.values() if len(own) > 1]
    if not several:
        return {"labels": 0, "best_is_best": None, "chance": None}
    best = [
        max(own, key=lambda row: row["iou_heldout"])["above_random"] == max(row["above_random"] for row in own)
        for own in several
    ]
    return {
        "labels": len(several),
        "best_is_best": float(np.mean(best)),
        "chance": float(np.mean([1 / len(own) for own in several])),
    }
