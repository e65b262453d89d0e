"""The windows of equal length that an edit is tried in, one for each onset."""

from __future__ import annotations

import numpy as np

from concepts.errors import ConceptError


def onset_windows(steps: int, length: float, most: int) -> list[tuple[float, float]]:
    """(from, to] of at most ``most`` windows, earliest first, each of the same number of steps.

    Step i of n lies at t = 1 - i / (n - 1). A window holds as many steps as fit into ``length``, at least one, and ends
    half a step below the last of them, so that rounding moves none in or out; the last one reaches t = 0. Raises
    ``ConceptError`` where fewer than three windows fit.
    """
    held = max(1, round(length * (steps - 1)))
    first = np.arange(steps - held + 1)
    if len(first) < 3:
        raise ConceptError(
            f"atlas.length {length:g} leaves {len(first)} onsets of sampling.steps {steps}: make it shorter, or take "
            "more steps"
        )
    chosen = first[np.unique(np.round(np.linspace(0, len(first) - 1, min(most, len(first)))).astype(int))]
    step = 1 / (steps - 1)
    return [(max(0.0, 1 - (i + held - 0.5) * step), 1 - i * step) for i in chosen.tolist()]
