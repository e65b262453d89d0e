"""When an edit stops to work: curves of known half time, and intervals that cover it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concepts.onsets import half_onset, rise_and_fall, tau50, tau50_difference

ONSETS = np.linspace(1.0, 0.0, 11)


def logistic(centre: float, width: float = 0.05) -> np.ndarray:
    """Success that falls from 1 to 0 as the onset goes below ``centre``."""
    return 1 / (1 + np.exp(-(ONSETS - centre) / width))


def test_of_a_straight_line_it_is_the_middle():
    assert half_onset(ONSETS, ONSETS) == pytest.approx(0.5)
    assert half_onset(ONSETS, 0.3 * ONSETS) == pytest.approx(0.5)  # half of its own peak


@pytest.mark.parametrize("centre", [0.2, 0.35, 0.5, 0.73])
def test_of_a_logistic_curve_it_is_the_centre(centre):
    assert half_onset(ONSETS, logistic(centre)) == pytest.approx(centre, abs=0.02)


def test_only_what_comes_after_the_peak_counts():
    bell = np.exp(-(((ONSETS - 0.5) / 0.2) ** 2))
    assert half_onset(ONSETS, bell) == pytest.approx(0.5 - 0.2 * np.sqrt(np.log(2)), abs=0.01)


def test_what_never_halves_has_none():
    assert np.isnan(half_onset(ONSETS, np.ones(11))) and np.isnan(half_onset(ONSETS, np.zeros(11)))
    assert np.isnan(half_onset(ONSETS, ONSETS[::-1].copy()))  # it rises to the end


def by_brute_force(success: np.ndarray) -> float:
    """The least error of all curves that rise and fall, on a fine grid of levels."""
    levels = np.linspace(0, 1, 9)
    best = np.inf
    for peak in range(len(success)):
        costs = (success[:, None] - levels[None]) ** 2
        up = costs[0].copy()
        for i in range(1, len(success)):
            reach = np.minimum.accumulate(up) if i <= peak else np.minimum.accumulate(up[::-1])[::-1]
            up = costs[i] + reach
        best = min(best, up.min())
    return best


@given(st.lists(st.integers(0, 8), min_size=1, max_size=6))
def test_the_fit_is_the_nearest_curve_of_one_peak(levels):
    success = np.array(levels) / 8
    fit, peak = rise_and_fall(success)
    assert (np.diff(fit[: peak + 1]) >= -1e-12).all() and (np.diff(fit[peak:]) <= 1e-12).all()
    assert ((fit - success) ** 2).sum() <= by_brute_force(success) + 1e-9


def drawn(centre: float, prompts: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random((prompts, 11)) < logistic(centre)).astype(float)


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = [
        low <= 0.4 <= high
        for seed in range(60)
        for low, high in [(t.low, t.high) for t in [tau50(ONSETS, drawn(0.4, 24, seed), 200, seed)]]
    ]
    assert 0.85 <= np.mean(covered) <= 1.0


def test_a_curve_that_does_not_halve_counts_with_the_last_onset():
    told = tau50(ONSETS, np.ones((5, 11)), 100, 0)
    assert (told.value, told.low, told.high, told.never) == (0.0, 0.0, 0.0, 1.0)


def test_a_difference_has_its_sign_and_its_error():
    layout, style = drawn(0.6, 30, 1), drawn(0.3, 30, 2)
    value, low, high, p = tau50_difference(ONSETS, layout, style, 300, 0)
    assert 0.2 < value < 0.4 and low > 0.1 and high < 0.5 and p == pytest.approx(2 / 301)
    back, _, _, same = tau50_difference(ONSETS, style, layout, 300, 0)
    assert back == pytest.approx(-value) and same == p
    assert tau50_difference(ONSETS, layout, layout, 300, 0) == (0.0, 0.0, 0.0, 1.0)
