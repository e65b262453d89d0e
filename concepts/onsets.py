"""When an edit stops to work: success against the onset of its window, and the onset at which it has halved.

Onsets run from noise (t = 1) to the image (t = 0). Success of one kind of edit rises to a peak and falls: of places the
peak is at the beginning, of looks later. ``tau50`` is where, after the peak, the curve goes through half of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from concepts.intervals import percentiles


@dataclass(frozen=True)
class Tau50:
    """An onset in diffusion time with its 95 % interval; ``never``: share of resamples that do not halve at all.

    Those, and a curve that does not halve itself, count with the last onset: it holds at least until there.
    """

    value: float
    low: float
    high: float
    never: float


def rise_and_fall(success_T: np.ndarray) -> tuple[np.ndarray, int]:
    """The curve nearest in squares, float64 [T], that rises to one peak and falls from there, and the peak's place."""
    best: tuple[float, np.ndarray, int] | None = None
    for peak in range(len(success_T)):
        up = isotonic_regression(success_T[: peak + 1]).x
        down = isotonic_regression(success_T[peak + 1 :], increasing=False).x if peak + 1 < len(success_T) else []
        fit = np.concatenate([up, down])
        if len(down) and down[0] > up[-1]:
            continue  # the peak is further on
        error = float(((fit - success_T) ** 2).sum())
        if best is None or error < best[0] - 1e-12:
            best = error, fit, peak
    assert best is not None, "a curve has an onset"  # the last one can always be the peak
    return best[1], best[2]


def half_onset(onsets_T: np.ndarray, success_T: np.ndarray) -> float:
    """The onset after the peak at which success is half of the peak's, linear between onsets; nan if it never is.

    ``onsets_T`` falls. A curve that is nowhere above 0 has no peak: nan.
    """
    fit, peak = rise_and_fall(success_T)
    half = fit[peak] / 2
    below = np.flatnonzero(fit[peak:] < half)
    if fit[peak] <= 0 or not len(below):
        return float("nan")
    after = peak + int(below[0])
    share = (fit[after - 1] - half) / (fit[after - 1] - fit[after])
    return float(onsets_T[after - 1] + share * (onsets_T[after] - onsets_T[after - 1]))


def tau50(onsets_T: np.ndarray, success_PT: np.ndarray, samples: int, seed: int) -> Tau50:
    """Of the mean over prompts of ``success_PT`` [prompts, onsets]; the interval resamples prompts."""
    drawn = resampled_tau50(onsets_T, success_PT, samples, seed)
    never = np.isnan(drawn)
    value = half_onset(onsets_T, success_PT.mean(0))
    low, high = percentiles(np.where(never, onsets_T[-1], drawn))
    return Tau50(float(onsets_T[-1]) if np.isnan(value) else value, low, high, float(never.mean()))


def tau50_difference(
    onsets_T: np.ndarray, one_PT: np.ndarray, other_PT: np.ndarray, samples: int, seed: int
) -> tuple[float, float, float, float]:
    """tau50 of one kind of edit less that of another on the same prompts: value, interval, two-sided p.

    Prompts are resampled in pairs. Positive: the first stops to work earlier in the sampling, at a higher t. p is twice
    the smaller share of resamples on either side of 0, with one added to both counts.
    """
    last = onsets_T[-1]
    values = [half_onset(onsets_T, success.mean(0)) for success in (one_PT, other_PT)]
    drawn = [resampled_tau50(onsets_T, success, samples, seed) for success in (one_PT, other_PT)]
    one, other = (np.where(np.isnan(d), last, d) for d in drawn)
    low, high = percentiles(one - other)
    smaller = min(int((one <= other).sum()), int((one >= other).sum()))
    first, second = (last if np.isnan(value) else value for value in values)
    return float(first - second), low, high, min(1.0, 2 * (smaller + 1) / (samples + 1))


def resampled_tau50(onsets_T: np.ndarray, success_PT: np.ndarray, samples: int, seed: int) -> np.ndarray:
    """float64 [samples]: ``half_onset`` of resamples of prompts, the same prompts for the same seed and number."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(success_PT), size=(samples, len(success_PT)))
    return np.array([half_onset(onsets_T, success_PT[rows].mean(0)) for rows in chosen])
