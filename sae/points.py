"""At which points of a run its SAEs are measured, and what they gained between two. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHARES = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 0.4, 0.6, 0.8, 1.0)  # of the steps: most happens early
# Shares of the steps between which a gain is told. With a decay over the last fifth, as by default, the learning rate
# is at its plateau in the former, and what falls in the latter is the noise of its steps: a gain without learning.
PLATEAU, LATE = (0.6, 0.8), (0.8, 1.0)


def curve_steps(total: int) -> tuple[int, ...]:
    """The steps after which a run of ``total`` steps is measured, ascending; fewer than ``SHARES`` in a short run."""
    return tuple(sorted({round(share * total) for share in SHARES}))


def gain(rows: Sequence[Mapping[str, Any]], total: int, since: float, until: float) -> float | None:
    """What explained variance rose by between two ``SHARES`` of the steps; None where these are one point."""
    variance = {row["step"]: row["explained_variance"] for row in rows}
    first, last = round(since * total), round(until * total)
    known = first in variance and last in variance
    return variance[last] - variance[first] if first < last and known else None
