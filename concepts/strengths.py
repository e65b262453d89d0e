"""Choosing the strength of an edit by what it does beside random directions of the same norm.

Success alone would favour the largest strength, for an image pushed far enough breaks, and a judge sees all sorts of
things in the pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Outcomes = list[dict[str, Any]]  # of images: success, effect and outside_change


def trial_columns(outcomes: Outcomes, of_random: Outcomes) -> dict[str, Any]:
    """Means over one strength's images, beside the success of as many images that random directions made."""
    means = {name: _mean(outcomes, name) for name in ("success", "effect", "outside_change")}
    return {**means, "random_success": _mean(of_random, "success"), "n": len(outcomes)}


def _mean(outcomes: Outcomes, name: str) -> float:
    return float(np.mean([outcome[name] for outcome in outcomes]))


def best_strength(rows: list[dict[str, Any]], strengths: Sequence[float], halved: bool = False) -> float:
    """The smallest strength whose success above the random direction's is within a standard error of the best.

    ``rows`` have ``strength``, ``success``, ``random_success`` (rates) and ``n`` (images of each). All targets' images
    count together. The smallest, since a few images decide, and a needless norm breaks others. Of two that are best,
    the error is that of the one known less well. ``halved``: a strength that was tried on fewer images than another was
    given up on the way, and is not chosen.
    """
    strengths = _tried_to_the_end(rows, strengths) if halved else strengths
    above = {strength: _above_random([row for row in rows if row["strength"] == strength]) for strength in strengths}
    best, error = max(above.values())
    return min(strength for strength, (difference, _) in above.items() if difference >= best - error)


def _tried_to_the_end(rows: list[dict[str, Any]], strengths: Sequence[float]) -> list[float]:
    images = {strength: sum(row["n"] for row in rows if row["strength"] == strength) for strength in strengths}
    return [strength for strength in strengths if images[strength] == max(images.values())]


def halving_rounds(images: int, strengths: int) -> list[int]:
    """Images that a strength has been tried on after each round of successive halving, the last being all.

    Each round has twice the images of the one before and half its strengths, until two are left; none has fewer than
    two images, since one says too little to give up a strength for.
    """
    rounds = [images]
    while rounds[0] >= 4 and 2 ** len(rounds) < strengths:
        rounds.insert(0, -(-rounds[0] // 2))
    return rounds


def better_half(rows: list[dict[str, Any]], strengths: Sequence[float]) -> list[float]:
    """The half of the strengths, rounded up, that did best above random directions; of equals the smaller.

    ``rows`` as of ``best_strength``.
    """
    above = {s: _above_random([row for row in rows if row["strength"] == s])[0] for s in strengths}
    return sorted(sorted(strengths, key=lambda s: (-above[s], s))[: -(-len(strengths) // 2)])


def best_window(rows: list[dict[str, Any]], strengths: Sequence[float], halved: bool = False) -> tuple[str, float]:
    """The window, and its best strength, that succeeds most above random directions; the first of equals.

    ``rows`` and ``halved`` as of ``best_strength``, and ``window``.
    """
    windows = dict.fromkeys(row["window"] for row in rows)
    best: tuple[float, str, float] | None = None
    for window in windows:
        of_window = [row for row in rows if row["window"] == window]
        strength = best_strength(of_window, strengths, halved)
        above, _ = _above_random([row for row in of_window if row["strength"] == strength])
        if best is None or above > best[0]:
            best = above, window, strength
    if best is None:
        return "", min(strengths)
    return best[1], best[2]


def _above_random(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Difference of the two success rates and its standard error; zeros if nothing could be edited."""
    n = sum(row["n"] for row in rows)
    if not n:
        return 0.0, 0.0
    rates = [sum(row["n"] * row[name] for row in rows) / n for name in ("success", "random_success")]
    return rates[0] - rates[1], float(np.sqrt(sum(rate * (1 - rate) for rate in rates) / n))
