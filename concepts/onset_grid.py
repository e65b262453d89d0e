"""The windows that an edit is tried in, one for each onset."""

from __future__ import annotations

import numpy as np

from concepts.errors import ConceptError


def onset_windows(steps: int, length: float, most: int) -> list[tuple[float, float]]:
    """(from, to] of at most ``most`` windows, earliest first: as many steps each, or as are left before the end.

    Step i of n lies at t = 1 - i / (n - 1). A window holds as many steps as fit into ``length``, at least one, and ends
    half a step below the last of them, so that rounding moves none in or out. The last onset is the last step, t = 0.
    Raises ``ConceptError`` for fewer than three steps.
    """
    if steps < 3:
        raise ConceptError(f"sampling.steps {steps} leaves no curve over onsets: take 3 steps or more")
    held = max(1, round(length * (steps - 1)))
    chosen = np.unique(np.round(np.linspace(0, steps - 1, min(most, steps))).astype(int))
    step = 1 / (steps - 1)
    return [(max(0.0, 1 - (i + held - 0.5) * step), 1 - i * step) for i in chosen.tolist()]
