"""Which strength a calibration picks."""

import pytest
from pydantic import ValidationError

from concepts.settings import InterventionSettings
from tasks.calibrate import best_strength


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
        # With ten images a standard error is about 0.18: 0.5 and 0.6 are not told apart, 0.2 and 0.6 are.
        ([row(2, 0.5, n=10), row(4, 0.6, n=10)], 2),
        ([row(2, 0.2, n=10), row(4, 0.6, n=10)], 4),
        ([], 2),
    ],
)
def test_the_smallest_strength_that_beats_the_random_direction_about_best(rows, expected):
    assert best_strength(rows, (2.0, 4.0, 8.0)) == expected


@pytest.mark.parametrize("strengths", [[], [0.0, 1.0], [1.0, 1.0]])
def test_strengths_that_make_no_choice_are_refused(strengths):
    with pytest.raises(ValidationError, match=r"interventions\.global_strengths must be distinct positive"):
        InterventionSettings(objects=("tree",), styles=(), global_strengths=strengths)
