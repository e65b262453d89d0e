"""When a run is measured, and what it gained between two points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae.points import LATE, PLATEAU, SHARES, curve_steps, gain


def test_the_points_of_a_long_run_and_of_short_ones():
    assert curve_steps(6400) == (0, 100, 200, 400, 800, 1600, 2560, 3840, 5120, 6400)
    assert curve_steps(1) == (0, 1) and curve_steps(3) == (0, 1, 2, 3)


@given(st.integers(1, 10**6))
def test_points_ascend_from_the_start_to_the_end_and_are_ten_at_the_most(total):
    steps = curve_steps(total)
    assert steps[0] == 0 and steps[-1] == total and list(steps) == sorted(set(steps)) and len(steps) <= 10
    assert len(steps) == 10 or total < 64 * 1.5


def test_a_gain_is_what_explained_variance_rose_by_between_two_points():
    rows = [{"step": step, "explained_variance": v} for step, v in ((0, 0.1), (38, 0.8), (51, 0.7), (64, 0.75))]
    assert gain(rows, 64, *LATE) == pytest.approx(0.05) and gain(rows, 64, *PLATEAU) == pytest.approx(-0.1)
    assert gain(rows[:3], 64, *LATE) is None and gain(rows[2:], 64, *PLATEAU) is None
    short = [{"step": 0, "explained_variance": 0.1}, {"step": 1, "explained_variance": 0.9}]
    assert gain(short, 1, *LATE) is None and gain(short, 1, 0.0, 1.0) == pytest.approx(0.8)


def test_gains_are_told_between_points_that_are_measured():
    assert {*PLATEAU, *LATE} <= set(SHARES) and max(LATE) == 1
