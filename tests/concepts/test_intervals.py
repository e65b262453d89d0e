"""Intervals against resampled lists, exact binomial bounds and the normal distribution's own quantiles."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm, ttest_1samp

from concepts.intervals import (
    bootstrap_interval,
    cluster_interval,
    delta_interval,
    exact_reach,
    mean_interval,
    percentiles,
    resampled_share,
    resampling,
)


def percentile(values, part):
    """Linear between the two order statistics around it."""
    ordered, place = sorted(values), part * (len(values) - 1)
    below = math.floor(place)
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(values) - 1)] - ordered[below])


def ends(values):
    return percentile(values, 0.025), percentile(values, 0.975)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40))
def test_the_interval_of_a_mean_is_students(values):
    low, high = mean_interval(np.array(values))
    if np.ptp(values) < 1e-6:
        assert (low, high) == pytest.approx((values[0], values[0]), abs=1e-5)
    else:
        assert (low, high) == pytest.approx(tuple(ttest_1samp(values, 0.0).confidence_interval(0.95)), abs=1e-9)


@pytest.mark.parametrize("values", [[], [0.5]])
def test_fewer_than_two_values_have_no_interval_of_their_mean(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy would say that there is nothing to divide by
        assert np.isnan(mean_interval(np.array(values))).all()


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


@pytest.mark.parametrize("trials", [1, 3, 10, 240])
def test_the_reach_is_the_exact_bound_of_what_was_never_seen(trials):
    exact = binomtest(0, trials).proportion_ci(0.95, "exact").high  # scipy's Clopper-Pearson
    assert exact_reach(trials) == pytest.approx(exact, abs=1e-12)


def test_percentiles_are_the_middle_95_of_what_was_drawn():
    drawn = np.random.default_rng(2).normal(size=501)
    assert percentiles(drawn) == pytest.approx(ends(drawn.tolist()), abs=1e-12)


@pytest.mark.parametrize(("value", "trials", "expected"), [
    (1.0, 10, (0.025 ** 0.1, 1.0)), (0.0, 10, (0.0, 1 - 0.025 ** 0.1)), (0.5, 1, (0.0, 1.0)), (1.0, 0, (0.025, 1.0)),
])  # fmt: skip
def test_a_share_whose_resamples_agree_reaches_as_far_as_the_exact_bound(value, trials, expected):
    assert resampled_share(value, np.full(100, value), trials) == pytest.approx(expected, abs=1e-12)


def test_a_share_whose_resamples_differ_has_their_percentiles():
    drawn = np.random.default_rng(3).random(200)
    assert resampled_share(0.9, drawn, 3) == pytest.approx(ends(drawn.tolist()), abs=1e-12)


@pytest.mark.parametrize(("value", "error"), [(0.4, 0.1), (0.05, 0.1), (0.97, 0.03), (0.5, 0.0)])
def test_the_delta_interval_is_the_normal_distributions_within_the_unit(value, error):
    low, high = norm.interval(0.95, value, error) if error else (value, value)
    assert delta_interval(value, error) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-6)


def test_each_bootstrap_sample_draws_as_many_images_as_there_are_and_each_as_often():
    weights = resampling(7, 20_000, 5)
    assert weights.shape == (20_000, 7) and weights.dtype == float and set(weights.sum(1)) == {7.0}
    assert weights.mean(0) == pytest.approx(np.ones(7), abs=0.03)
    assert weights.var(0) == pytest.approx(np.full(7, 6 / 7), abs=0.05)  # of a multinomial: n p (1 - p)
