"""Layouts without a dictionary, in worlds where it is known what the noise or the caption tells, and by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concepts.errors import ConceptError
from concepts.layout import Masks
from concepts.layout_alone import (
    attention,
    neighbour_weights,
    noise_neighbours,
    position,
    position_given,
    ridge_weights,
)
from concepts.noise_features import neighbourhoods, on_grid

CELL = 4  # pixels
HALVES = np.array([[4, 4, 0, 0], [0, 0, 4, 4]])  # a mask on the left two cells, and on the right two


def masks(sides, first=0):
    return Masks(np.arange(first, first + len(sides)), HALVES[np.asarray(sides)])


def told(sides):
    """A noun that stands in the captions of the masks on the right, another in all, and one in none."""
    right = np.asarray(sides, bool)
    return np.stack([right, np.ones_like(right), np.zeros_like(right)], axis=1)


def test_where_the_mask_is_left_or_right_position_takes_all_and_gets_half():
    outcome = position(masks([0, 1] * 6), masks([1, 1, 0], 50), CELL)
    assert outcome.ious.tolist() == [0.5, 0.5, 0.5] and outcome.threshold == 0.5


def test_position_follows_where_the_label_was():
    outcome = position(masks([0] * 5), masks([0, 1], 50), CELL)
    assert outcome.ious.tolist() == [1.0, 0.0]


def test_another_noun_tells_the_side_and_one_of_all_captions_tells_nothing():
    learnt, tested = [0, 0, 1, 1] * 6, [1, 0, 0, 1, 1]
    found = position_given(masks(learnt), masks(tested, 50), told(learnt), told(tested), CELL)
    assert found.ious.tolist() == [1.0] * 5
    nothing = position_given(masks(learnt), masks(tested, 50), told(learnt)[:, 1:], told(tested)[:, 1:], CELL)
    assert nothing.ious.tolist() == [0.5] * 5
    lied_to = position_given(masks(learnt), masks(tested, 50), told(learnt), ~told(tested), CELL)
    assert lied_to.ious.tolist() == [0.0] * 5


def test_what_a_half_of_the_images_cannot_know_of_the_other_is_not_believed():
    """Each image has a noun of its own, by which it could be told from all others and nothing be learnt of the rest."""
    learnt = [0, 0, 1, 1] * 4
    found = position_given(masks(learnt), masks([0, 1], 50), np.eye(16, dtype=bool), np.eye(2, 16, dtype=bool), CELL)
    assert found.ious.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("ids", [np.arange(0, 24, 2), np.arange(1, 25, 2)])
def test_images_of_one_half_alone_are_scored_by_the_prior(ids):
    sides = np.array([0, 1] * 6)
    learnt = Masks(ids, HALVES[sides])
    found = position_given(learnt, masks([0, 1], 50), told(sides), told([0, 1]), CELL)
    assert found.threshold == 0.5


@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.5, 3.0, 40.0]))
def test_ridge_weights_against_the_least_squares_solution_with_an_intercept(seed, penalty):
    """The penalised problem written as rows of an ordinary one, its intercept not penalised."""
    rng = np.random.default_rng(seed)
    x, new, y = rng.normal(size=(7, 3)), rng.normal(size=(4, 3)), rng.normal(size=7)
    rows = np.vstack([np.hstack([x, np.ones((7, 1))]), np.hstack([penalty**0.5 * np.eye(3), np.zeros((3, 1))])])
    *slope, intercept = np.linalg.lstsq(rows, np.concatenate([y, np.zeros(3)]), rcond=None)[0]
    expected = new @ slope + intercept
    assert y.mean() + ridge_weights(x, new, penalty) @ (y - y.mean()) == pytest.approx(expected)


@given(seed=st.integers(0, 10_000), count=st.sampled_from([1, 3, 7, 99]))
def test_neighbours_are_the_nearest(seed, count):
    rng = np.random.default_rng(seed)
    x, new = rng.normal(size=(7, 3)), rng.normal(size=(4, 3))
    for weights, one in zip(neighbour_weights(x, new, count), new, strict=True):
        order = sorted(range(7), key=lambda i: sum((x[i] - one) ** 2))
        expected = [1 / min(count, 7) if order.index(i) < count else 0.0 for i in range(7)]
        assert weights == pytest.approx(expected)


def test_noise_near_that_of_a_known_image_gives_its_mask():
    rng = np.random.default_rng(0)
    sides, tested = np.array([0, 0, 1, 1] * 6), np.array([1, 0, 1])
    poles = rng.normal(size=(2, 5))
    near = poles[sides] + 0.01 * rng.normal(size=(24, 5)), poles[tested] + 0.01 * rng.normal(size=(3, 5))
    assert noise_neighbours(masks(sides), masks(tested, 50), *near, CELL).ious.tolist() == [1.0] * 3
    swapped = noise_neighbours(masks(sides), masks(tested, 50), near[0], poles[1 - tested], CELL)
    assert swapped.ious.tolist() == [0.0] * 3


def test_a_heat_map_draws_what_is_hottest_however_hot_it_is():
    """Of masks that are hot at 2 or at 200 beside half of that: a share of its own largest value tells them apart."""
    learnt, tested = [0, 1, 0], [1, 1, 0]
    heat = [np.where(HALVES[sides] > 0, 2.0, 1.0) * np.array([[1.0], [100.0], [7.0]]) for sides in (learnt, tested)]
    assert attention(masks(learnt), masks(tested, 50), *heat, CELL).ious.tolist() == [1.0] * 3
    nothing = attention(masks(learnt), masks(tested, 50), heat[0], np.zeros((3, 4)), CELL)
    assert nothing.ious.tolist() == [0.0] * 3


# The noise as features


def test_noise_on_a_grid_is_the_mean_of_each_cell_at_variance_one():
    noise = np.random.default_rng(0).normal(size=(200, 2, 6, 8))
    found = on_grid(noise, (3, 2))
    assert found.shape == (200, 2, 3, 2)
    assert found[5, 1, 2, 0] == pytest.approx(noise[5, 1, 4:6, 0:4].mean() * 8**0.5)
    assert found.var() == pytest.approx(1, abs=0.1)
    assert np.array_equal(on_grid(noise, (6, 8)), noise)
    with pytest.raises(ConceptError, match="a grid of 4 x 4 cells does not tile the latent of 6 x 8 values"):
        on_grid(noise, (4, 4))


@pytest.mark.parametrize(("side", "reach"), [(8, 1), (4, 1), (16, 2)])
def test_the_neighbourhood_of_a_cell_are_the_values_around_it_and_zeros_beyond_the_image(side, reach):
    noise = np.random.default_rng(0).normal(size=(2, 3, side, side))
    found = neighbourhoods(noise)
    assert found.shape == (2, side**2, 3 * (2 * reach + 1) ** 2)
    for row, column in ((0, 0), (side - 1, 1), (2, 3)):
        expected = [
            noise[1, channel, row + down, column + across]
            if 0 <= row + down < side and 0 <= column + across < side
            else 0.0
            for down in range(-reach, reach + 1)
            for across in range(-reach, reach + 1)
            for channel in range(3)
        ]
        assert found[1, row * side + column].tolist() == expected


@pytest.mark.parametrize("seed", [7, 18, 33, 41])
def test_the_prior_is_judged_as_the_rest_is_by_images_that_it_has_not_seen(seed):
    """Ten images, whose noise tells of two overlapping stretches of places in which one the mask is.

    Judged by the ten images that it is made of, the prior would seem better than their neighbours and be taken.
    """
    (learnt, noise), (tested, new) = stretches(seed, 10), stretches(seed + 1000, 200, first=50)
    assert noise_neighbours(learnt, tested, noise, new, CELL).ious.mean() > position(learnt, tested, CELL).ious.mean()


def stretches(seed, images, first=0):
    rng = np.random.default_rng(seed)
    pole = rng.integers(2, size=images)
    start = 4 + 4 * pole + rng.integers(0, 9, size=images)
    areas = np.array([[CELL * (place <= cell < place + 4) for cell in range(24)] for place in start])
    noise = np.stack([pole * 10.0 + 0.01 * rng.normal(size=images), rng.normal(size=images) * 0.01], axis=1)
    return Masks(np.arange(first, first + images), areas), noise
