"""Which strength a calibration picks: by hand, with rates whose standard errors are whole parts of two."""

import itertools
import math

import numpy as np
import pytest
from pydantic import ValidationError

from concepts.settings import InterventionSettings
from concepts.strengths import best_strength, best_window, better_half, halving_rounds, trial_columns

STRENGTHS = (2.0, 4.0, 8.0)


def row(strength, success, n=400, random=0.1):
    return {"strength": strength, "success": success, "random_success": random, "n": n}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row(2, 0.2), row(4, 0.5), row(8, 0.4)], 4),
        ([row(2, 0.5), row(4, 0.5), row(8, 0.5)], 2),
        # A target with more images weighs more: 4 reaches 3 of 4 images, 8 only 7 of 12.
        ([row(4, 1.0, n=800), row(4, 0.25), row(8, 0.5, n=800), row(8, 0.75)], 4),
        # 8 succeeds more often, but so do random directions of its norm: the image is broken.
        ([row(4, 0.5), row(8, 0.7, random=0.6)], 4),
        # A random direction that succeeds more often than the concepts do counts against them.
        ([row(2, 0.2, random=0.9), row(4, 0.2, random=0.6), row(8, 0.2, random=0.2)], 8),
        # With ten images a standard error is about 0.18: 0.5 and 0.6 are not told apart, 0.2 and 0.6 are.
        ([row(2, 0.5, n=10), row(4, 0.6, n=10)], 2),
        ([row(2, 0.2, n=10), row(4, 0.6, n=10)], 4),
        # A strength that nothing was edited with stands at zero, and loses to what does better than chance alone.
        ([row(4, 0.9)], 4),
        ([row(4, 0.1, random=0.9), row(8, 0.1, random=0.9)], 2),
        ([row(2, 0.0, n=0), row(4, 0.9)], 4),
        # Its zero is no estimate, so there is no error to forgive another: 2 does worse than random directions.
        ([row(2, 0.1, random=0.4)], 4),
        ([], 2),
    ],
)
def test_the_smallest_strength_that_beats_the_random_direction_about_best(rows, expected):
    assert best_strength(rows, STRENGTHS) == expected


@pytest.mark.parametrize(("short", "expected"), [(0.25, 2), (0.25 + 2**-40, 8)])
def test_a_standard_error_below_the_best_still_serves(short, expected):
    """Success 1 and 1/2 in four images: the difference's variance is (0 + 1/4) / 4, its error exactly a quarter."""
    rows = [row(8, 1.0, n=4, random=0.5), row(2, 1.0 - short, n=4, random=0.5), row(4, 0.0, n=4, random=0.5)]
    assert best_strength(rows, STRENGTHS) == expected


@pytest.mark.parametrize(("short", "expected"), [(0.125, 2), (0.125 + 2**-40, 8)])
def test_the_random_directions_chance_counts_into_the_error(short, expected):
    """Rates 1/2 and 1/2 in 32 images, of two targets together: (1/4 + 1/4) / 32 is an eighth squared."""
    rows = [row(8, 1.0, n=12, random=0.0), row(8, 0.2, n=20, random=0.8)]  # 16 successes and 16 of random directions
    rows += [row(2, 0.5 - short, n=32, random=0.5)]
    assert best_strength(rows, (2.0, 8.0)) == expected


def test_of_two_that_are_best_the_error_is_of_the_one_known_less_well():
    """2 lies a tenth below both: within the error of the four images, and outside that of the four hundred."""
    few, many, below = row(4, 0.5, n=4, random=0.25), row(8, 0.5, n=400, random=0.25), row(2, 0.35, random=0.2)
    for rows in itertools.permutations((few, many, below)):
        assert best_strength(list(rows), STRENGTHS) == 2
    assert best_strength([many, below], STRENGTHS) == 8
    assert best_strength([few, many, below], (8.0, 4.0, 2.0)) == 2  # in whatever order they are offered


def test_against_a_count_over_images():
    """Every image of every target as a zero or a one, pooled: the rule from means and variances of plain lists."""
    rng = np.random.default_rng(4)
    for _ in range(200):
        images = {
            strength: [(rng.random((2, rng.integers(1, 9))) < rng.random()).astype(int) for _ in range(3)]
            for strength in STRENGTHS
        }
        rows = [
            row(strength, float(np.mean(edited)), len(edited), float(np.mean(random)))
            for strength, targets in images.items()
            for edited, random in targets
        ]
        gains, errors = {}, {}
        for strength, targets in images.items():
            edited, random = ([int(x) for target in targets for x in target[which]] for which in (0, 1))
            n = len(edited)
            gains[strength] = sum(edited) / n - sum(random) / n
            variances = [sum((x - sum(of) / n) ** 2 for x in of) / n for of in (edited, random)]
            errors[strength] = math.sqrt(sum(variances) / n)
        best = max(gains.values())
        error = max(errors[s] for s in STRENGTHS if math.isclose(gains[s], best, abs_tol=1e-12))
        enough = [s for s in STRENGTHS if gains[s] >= best - error - 1e-12]
        nearly = [s for s in STRENGTHS if abs(gains[s] - (best - error)) < 1e-9]
        ties = [s for s in STRENGTHS if abs(gains[s] - best) < 1e-9]
        if not nearly and len(ties) == 1:  # what rounding decides is asked above, with numbers that are exact
            assert best_strength(rows, STRENGTHS) == min(enough)


def test_the_row_of_a_strength_is_the_mean_over_its_images():
    outcomes = [
        {"success": True, "effect": 0.5, "outside_change": 0.25},
        {"success": False, "effect": -0.25, "outside_change": 0.75},
        {"success": True, "effect": 0.125, "outside_change": 0.125},
        {"success": True, "effect": 0.125, "outside_change": 0.125},
    ]
    of_random = [{"success": s, "effect": 9.0, "outside_change": 9.0} for s in (False, True, False, False)]
    found = trial_columns(outcomes, of_random)
    assert found == {"success": 0.75, "random_success": 0.25, "effect": 0.125, "outside_change": 0.3125, "n": 4}
    assert {type(value) for value in found.values()} == {float, int}


@pytest.mark.parametrize("strengths", [[], [0.0, 1.0], [1.0, 1.0]])
def test_strengths_that_make_no_choice_are_refused(strengths):
    with pytest.raises(ValidationError, match=r"interventions\.global_strengths must be distinct positive"):
        InterventionSettings(objects=("tree",), styles=(), global_strengths=strengths)


def test_the_best_window_is_the_one_furthest_above_random_directions():
    def tried(window, strength, success, random):
        return {"window": window, "strength": strength, "success": success, "random_success": random, "n": 20}

    rows = [tried("early", 2.0, 0.6, 0.5), tried("early", 4.0, 0.9, 0.8)]
    rows += [tried("middle", 2.0, 0.2, 0.0), tried("middle", 4.0, 0.8, 0.1)]
    assert best_window(rows, (2.0, 4.0)) == ("middle", 4.0)
    assert best_window(rows[:2], (2.0, 4.0)) == ("early", 2.0)
    assert best_window([], (4.0, 2.0)) == ("", 2.0)


@pytest.mark.parametrize(
    ("images", "strengths", "rounds"),
    [
        (4, 5, [2, 4]),
        (8, 5, [2, 4, 8]),
        (16, 5, [4, 8, 16]),  # 5, 3 and 2 strengths: a fourth round would have one
        (8, 2, [8]),  # two are compared on all images
        (8, 3, [4, 8]),
        (3, 9, [3]),
        (5, 9, [3, 5]),
        (0, 5, [0]),
    ],
)
def test_halving_doubles_the_images_until_two_strengths_are_left(images, strengths, rounds):
    assert halving_rounds(images, strengths) == rounds


def test_the_better_half_is_that_above_random_directions_and_the_smaller_of_equals():
    rows = [row(2, 0.5, random=0.1), row(4, 0.9, random=0.8), row(8, 0.6, random=0.2), row(16, 0.3)]
    assert better_half(rows, (2.0, 4.0, 8.0, 16.0)) == [2.0, 8.0]
    rows += [row(1, 0.3)]  # as good as 16
    assert better_half(rows, (1.0, 2.0, 4.0, 8.0, 16.0)) == [1.0, 2.0, 8.0]


def test_a_strength_that_was_given_up_is_not_chosen_however_well_its_few_images_did():
    """1.0 on two images; those that were kept have four. None that was never tried is chosen, either."""
    rows = [row(2, 1.0, n=2, random=0.0), row(4, 0.5, n=4), row(8, 0.9, n=4)]
    assert best_strength(rows, STRENGTHS, halved=True) == 8 and best_strength(rows, STRENGTHS) == 2
    worse = [row(4, 0.1, n=4, random=0.9), row(8, 0.1, n=4, random=0.8)]
    assert best_strength(worse, STRENGTHS, halved=True) == 4 and best_strength(worse, STRENGTHS) == 2
    windows = [one | {"window": "early"} for one in rows] + [row(4, 0.6, n=4) | {"window": "late"}]
    assert best_window(windows, STRENGTHS, halved=True) == ("early", 8)


@pytest.mark.parametrize("halved", [False, True])
def test_without_a_trial_the_smallest_is_taken(halved):
    assert best_strength([], STRENGTHS, halved) == 2.0 and best_window([], STRENGTHS, halved) == ("", 2.0)
