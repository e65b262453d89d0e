"""Intervals against resampled lists and exact bounds; what happens in a region, from maps and pixels set by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from concepts.effects import (
    bootstrap_interval,
    centre_of_mass,
    change_outside,
    cluster_interval,
    region_mask,
    share_in_region,
    success_in_region,
)
from concepts.settings import REGIONS


def percentile(values, part):
    """Linear between the two order statistics around it."""
    ordered, place = sorted(values), part * (len(values) - 1)
    below = math.floor(place)
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(values) - 1)] - ordered[below])


def ends(values):
    return percentile(values, 0.025), percentile(values, 0.975)


def test_bootstrap_interval_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values, 2000, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.01)


@pytest.mark.parametrize(("samples", "seed"), [(100, 0), (237, 5)])
def test_bootstrap_interval_against_resampled_lists(samples, seed):
    values = [0.1, 0.9, 0.4, 0.2, 0.85, 0.3, 0.0]
    rng, means, tops = np.random.default_rng(seed), [], []
    for drawn in rng.integers(len(values), size=(samples, len(values))):
        pool = [values[i] for i in drawn]
        means.append(sum(pool) / len(pool))
        tops.append(max(pool))
    found = bootstrap_interval(np.array(values), samples, seed)
    assert found == (pytest.approx(ends(means)[0]), pytest.approx(ends(means)[1]))
    found = bootstrap_interval(np.array(values), samples, seed, statistic=np.max)
    assert found == (pytest.approx(ends(tops)[0]), pytest.approx(ends(tops)[1]))
    assert np.isnan(bootstrap_interval(np.zeros(0), samples, seed)).all()
    assert bootstrap_interval(np.array([0.5]), samples, seed) == (0.5, 0.5)


def test_cluster_interval_widens_with_the_copies_inside_a_cluster():
    values = np.random.default_rng(1).normal(size=300)
    alone = cluster_interval(values, range(300), 2000, 0)
    assert (alone[1] - alone[0]) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(300), rel=0.1)
    # Four copies of each value tell no more than one: the interval of the mean must not shrink.
    copied = cluster_interval(np.repeat(values, 4), [i // 4 for i in range(1200)], 2000, 0)
    assert np.allclose(copied, alone)
    naive = bootstrap_interval(np.repeat(values, 4), 2000, 0)
    assert naive[1] - naive[0] == pytest.approx((alone[1] - alone[0]) / 2, rel=0.1)


@pytest.mark.parametrize(("samples", "seed"), [(100, 0), (237, 5)])
def test_cluster_interval_against_pooled_lists(samples, seed):
    """Clusters of one to four values, drawn whole, in the order in which they first occur: the mean is over values."""
    names = ["d", "a", "d", "b", "c", "c", "a", "d", "d", "c"]
    values = [0.1, 0.9, 0.4, 0.2, 0.8, 0.3, 0.0, 1.0, 0.6, 0.7]
    lists = [[v for v, n in zip(values, names, strict=True) if n == name] for name in "dabc"]
    rng, means = np.random.default_rng(seed), []
    for drawn in rng.integers(4, size=(samples, 4)):
        pool = [value for i in drawn for value in lists[i]]
        means.append(sum(pool) / len(pool))
    found = cluster_interval(np.array(values), names, samples, seed)
    assert found == (pytest.approx(ends(means)[0]), pytest.approx(ends(means)[1]))


def test_unequal_clusters_are_pooled_and_not_averaged():
    """Nine ones and a zero: a draw is all ones, all zeros, or has both: nine tenths, where a mean of means is half."""
    values, names = np.array([1.0] * 9 + [0.0]), ["a"] * 9 + ["b"]
    assert cluster_interval(values, names, 4000, 0) == (0.0, 1.0)
    drawn = [cluster_interval(values, names, 1, seed) for seed in range(40)]
    assert {round(low, 9) for low, _ in drawn} == {0.0, 0.9, 1.0} and all(low == high for low, high in drawn)


@pytest.mark.parametrize("clusters", [1, 2, 10, 37])
def test_clusters_that_agree_have_the_exact_binomial_interval(clusters):
    """Clopper and Pearson's, for as many trials as clusters, however many values each of them has."""
    none, every = (binomtest(hits, clusters).proportion_ci(0.95) for hits in (0, clusters))
    names = [i // 4 for i in range(4 * clusters)]
    low, high = cluster_interval(np.zeros(4 * clusters), names, 100, 0)
    assert (low, high) == (0.0, pytest.approx(none.high))
    low, high = cluster_interval(np.ones(4 * clusters), names, 100, 0)
    assert (low, high) == (pytest.approx(every.low), 1.0)
    # At a rate just above the upper end a run without any success is rarer than one in forty, and below it is not.
    reach = cluster_interval(np.zeros(clusters), range(clusters), 100, 0)[1]
    assert binom.cdf(0, clusters, reach + 1e-9) < 0.025 < binom.cdf(0, clusters, reach - 1e-9)


def test_what_may_lie_between_other_bounds_reaches_as_far_in_their_unit():
    """Differences of 1 may turn to -1 in as many clusters as the bound leaves; the same between -2 and 4."""
    share = binomtest(0, 10).proportion_ci(0.95).high
    for low, high in ((-1.0, 1.0), (-2.0, 4.0)):
        width = high - low
        at_top = cluster_interval(np.full(10, high), range(10), 100, 0, (low, high))
        assert at_top == (pytest.approx(high - share * width), high)
        at_bottom = cluster_interval(np.full(10, low), range(10), 100, 0, (low, high))
        assert at_bottom == (low, pytest.approx(low + share * width))


def test_there_is_no_interval_where_nothing_is_known_of_a_spread():
    assert np.isnan(cluster_interval(np.zeros(0), [], 100, 0)).all()
    # No difference anywhere, or a share that every cluster has by design.
    assert np.isnan(cluster_interval(np.zeros(10), range(10), 100, 0, (-1.0, 1.0))).all()
    assert np.isnan(cluster_interval(np.array([1.0, 0, 0, 0] * 10), [i // 4 for i in range(40)], 100, 0)).all()
    # They agree although their sums do not to the last bit: a tenth, and three tenths over three.
    tenths = cluster_interval(np.array([0.1, 0.1, 0.1, 0.1]), ["a", "b", "b", "b"], 100, 0, (0.1, 1.0))
    assert tenths == (0.1, pytest.approx(0.1 + 0.9 * binomtest(0, 2).proportion_ci(0.95).high))
    # One cluster that differs is enough to resample.
    assert not np.isnan(cluster_interval(np.array([0.5] * 9 + [0.6]), range(10), 100, 0)).any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=20))
def test_intervals_stay_between_the_clusters_means(pairs):
    """A mean over clusters drawn whole lies between their own; at the ends it may reach further, within the bounds."""
    names, values = [name for name, _ in pairs], np.array([value for _, value in pairs])
    low, high = cluster_interval(values, names, 100, 1)
    means = [values[[n == name for n in names]].mean() for name in set(names)]
    if min(means) == max(means):
        assert np.isnan(low) if means[0] not in (0.0, 1.0) else 0.0 <= low < high <= 1.0
    else:
        assert min(means) - 1e-12 <= low <= high <= max(means) + 1e-12


QUADRANTS = {
    "top_left": ["##...", "##...", ".....", ".....", "....."],
    "top_right": ["..###", "..###", ".....", ".....", "....."],
    "bottom_left": [".....", ".....", "##...", "##...", "##..."],
    "bottom_right": [".....", ".....", "..###", "..###", "..###"],
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_region_is_a_quadrant(name):
    drawn = np.array([[c == "#" for c in line] for line in QUADRANTS[name]])
    found = region_mask(name, 5, 5)
    assert found.dtype == bool and np.array_equal(found, drawn)
    assert np.array_equal(region_mask(name, 5, 4), np.delete(drawn, 2, axis=1))
    assert np.array_equal(region_mask(name, 4, 5), np.delete(drawn, 2, axis=0))


def test_regions_tile_the_image():
    total = sum(region_mask(name, 7, 9).astype(int) for name in REGIONS)
    assert (total == 1).all()


@pytest.mark.parametrize("name", ["middle", "", "top", "left_top", "top_left_side", "top_middle", "mid_left"])
def test_an_unknown_region_is_refused(name):
    with pytest.raises(ValueError, match=f"unknown region '{name}': use top_left, top_right, bottom_left or bottom_r"):
        region_mask(name, 4, 4)


def test_the_centre_of_mass_by_hand():
    heat = np.zeros((3, 5))
    heat[0, 0], heat[2, 4] = 0.05, 0.15
    assert centre_of_mass(heat) == (pytest.approx(1.5), pytest.approx(3.0))
    assert centre_of_mass(np.zeros((3, 5))) is None


def test_success_needs_something_to_be_there():
    heat = np.zeros((8, 8))
    assert not success_in_region(heat, region_mask("top_left", 8, 8))
    heat[1:3, 5:7] = 0.9
    assert [success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS] == [False, True, False, False]
    heat[:] = 0.3
    assert not any(success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS)


def test_success_goes_by_the_cell_nearest_to_the_centre():
    """Two cells of an object in one row, at 1 and 5, of unequal strength: the centre is at 3.4, then at 3.6."""
    left, right = region_mask("top_left", 8, 8), region_mask("top_right", 8, 8)
    for weights, expected in (((0.6, 0.9), (True, False)), ((0.525, 0.975), (False, True))):
        heat = np.zeros((8, 8))
        heat[1, 1], heat[1, 5] = weights
        assert (success_in_region(heat, left), success_in_region(heat, right)) == expected


def test_what_lies_below_the_floor_pulls_no_centre():
    heat = np.full((8, 8), 0.4375)
    heat[6, 1] = 0.5
    assert success_in_region(heat, region_mask("bottom_left", 8, 8))
    assert not success_in_region(heat, region_mask("bottom_left", 8, 8), floor=0.5625)
    low = np.zeros((8, 8))
    low[0, 7] = 0.25
    assert success_in_region(low, region_mask("top_right", 8, 8), floor=0.25)


def test_the_share_of_a_map_in_a_region():
    heat = np.zeros((4, 6))
    heat[0, 0], heat[1, 2], heat[3, 5], heat[0, 5] = 0.125, 0.25, 0.0625, 0.0625
    assert [share_in_region(heat, region_mask(r, 4, 6)) for r in REGIONS] == [0.75, 0.125, 0.0, 0.125]
    assert share_in_region(np.zeros((4, 6)), region_mask("top_left", 4, 6)) == 0.0


def test_change_outside_ignores_the_region():
    before, after = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    after[:2, :2] = 255
    assert change_outside(before, after, region_mask("top_left", 4, 4)) == 0
    assert change_outside(before, after, region_mask("top_right", 4, 4)) == pytest.approx(4 / 12)
    assert change_outside(before, after, None) == pytest.approx(0.25)


def test_change_is_the_mean_distance_of_all_channels_whichever_way_it_goes():
    """A pixel that falls by 51 in one channel and one that rises by 102 in two: (51 / 3 + 204 / 3) / 255 over four."""
    before, after = np.full((2, 2, 3), 100, np.uint8), np.full((2, 2, 3), 100, np.uint8)
    after[0, 0, 1], after[1, 1, :2] = 49, 202
    expected = (0.2 / 3 + 0.8 / 3) / 4
    assert change_outside(before, after, None) == pytest.approx(expected)
    assert change_outside(after, before, None) == pytest.approx(expected)
    assert change_outside(before, after, region_mask("bottom_right", 2, 2)) == pytest.approx(0.2 / 3 / 3)
