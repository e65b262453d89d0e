"""Concepts that stand for chance: as many as are edited, on as often, drawn by a seed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

NEAREST = 10  # concepts of the nearest density that one is drawn from


def matched_concepts(cids: Sequence[int], densities_M: np.ndarray, never: Collection[int], seed: int) -> list[int]:
    """For each concept another one of about its density (share of positions where it is on), none twice.

    Drawn from the ``NEAREST`` that are alive (density above 0) and not in ``never``; fewer where there are fewer.
    """
    rng = np.random.default_rng(seed)
    left = [c for c in np.flatnonzero(densities_M > 0).tolist() if c not in never]
    drawn: list[int] = []
    for cid in cids[: len(left)]:
        left.sort(key=lambda c: (abs(np.log(densities_M[c]) - np.log(max(densities_M[cid], 1e-12))), c))
        drawn.append(left.pop(int(rng.integers(min(NEAREST, len(left))))))
    return drawn
