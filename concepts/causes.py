"""Does a concept bring about what it detects? Its small edit's effect on its own label, beside random directions'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, ttest_1samp

from concepts.intervals import mean_interval


def cause_rows(
    effects: Mapping[int, np.ndarray], labels: Mapping[int, str], random: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """One row a concept: how much more of its label its edit makes than random directions do, on the same prompts.

    ``effects``: cid -> rise of its label's probability on each prompt [P]; ``random``: label -> the same of R random
    directions [R, P], each prompt's own. The interval and the two-sided p are of the paired differences over prompts
    (Student's t); q corrects for all concepts here (Benjamini-Hochberg).
    """
    rows = []
    for cid, effect_P in effects.items():
        null_P = random[labels[cid]].mean(0)
        above_P = effect_P - null_P
        low, high = mean_interval(above_P)
        rows.append(
            {
                "cid": cid,
                "label": labels[cid],
                "effect": float(effect_P.mean()),
                "random_effect": float(null_P.mean()),
                "above_random": float(above_P.mean()),
                "above_random_ci_low": low,
                "above_random_ci_high": high,
                "p": _p_value(above_P),
                "n_prompts": len(above_P),
            }
        )
    if not rows:
        return []
    corrected = false_discovery_control([row["p"] for row in rows])
    return [row | {"q": float(q)} for row, q in zip(rows, corrected, strict=True)]


def _p_value(above_P: np.ndarray) -> float:
    """1 where no prompt differs from another: a t-test says nothing then."""
    if np.ptp(above_P) <= 1e-12:
        return 1.0
    return float(ttest_1samp(above_P, 0.0).pvalue)
