"""Detectors, splitting and absorption against brute force, planted cases and simulated coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.feature_detectors import (
    CELL_LEVELS,
    IMAGE_LEVELS,
    absorption,
    candidate_thresholds,
    choose_detectors,
    count_hits,
    estimates,
    f1_score,
    fires_on,
    image_sums,
    splitting,
)
from concepts.intervals import resampling


def drawn(seed, rows=40, features=5, labels=3):
    rng = np.random.default_rng(seed)
    z = np.maximum(rng.normal(size=(rows, features)), 0).astype(np.float32) * (rng.random((rows, features)) < 0.6)
    return z.astype(np.float32), rng.random((rows, labels)) < 0.4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_counts_and_choice_equal_a_loop_over_everything(seed):
    z, truth = drawn(seed)
    cut = candidate_thresholds(z, CELL_LEVELS)
    hits, fires = count_hits(z, truth, cut)
    choice = choose_detectors(hits, fires, truth.sum(0))
    for label in range(truth.shape[1]):
        best = -1.0
        for j in range(len(cut)):
            for c in range(z.shape[1]):
                on = [bool(z[n, c] > cut[j, c]) for n in range(len(z))]
                both = sum(o and bool(t) for o, t in zip(on, truth[:, label], strict=True))
                assert hits[j, c, label] == both and fires[j, c] == sum(on)
                total = sum(on) + int(truth[:, label].sum())
                best = max(best, 2 * both / total if total else 0.0)
        assert choice.f1_L[label] == pytest.approx(best)
        on = z[:, choice.cid_L[label]] > cut[choice.level_L[label], choice.cid_L[label]]
        assert np.array_equal(fires_on(z, cut, choice)[:, label], on)
        both = (on & truth[:, label]).sum()
        assert choice.f1_L[label] == pytest.approx(2 * both / max(on.sum() + truth[:, label].sum(), 1))


def test_of_equal_detectors_the_first_threshold_and_then_the_first_feature_is_chosen():
    hits, fires = np.array([[[1], [2], [2]], [[2], [2], [1]]]), np.array([[1, 4, 2], [2, 2, 1]])
    choice = choose_detectors(hits, fires, np.array([3]))
    assert (choice.level_L.tolist(), choice.cid_L.tolist(), choice.f1_L.tolist()) == ([0], [2], [0.8])


def test_levels_rise_from_any_activity_towards_the_largest():
    for levels, count in ((CELL_LEVELS, 16), (IMAGE_LEVELS, 50)):
        assert levels[0] == 0 and len(levels) == count
        assert (np.diff(levels) > 0).all() and 0.97 < levels[-1] < 1
    assert np.diff(IMAGE_LEVELS) == pytest.approx(np.full(49, 0.02))


def test_thresholds_are_zero_and_then_quantiles_of_what_is_positive():
    z = np.array([[0, 1, 2, 3, 4, 0, 0, 5, 6, 7, 8]], np.float32).T
    assert candidate_thresholds(z, (0.0, 0.5))[:, 0].tolist() == [0.0, 5.0]  # the positives are 1 to 8
    assert candidate_thresholds(np.zeros((4, 1), np.float32), (0.0, 0.5)).tolist() == [[0.0], [0.0]]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_thresholds_of_each_feature_leave_out_their_share_of_its_own_positives(seed, rows):
    """Of values below and above 1, and features that are never, once, or always positive."""
    rng = np.random.default_rng(seed)
    z = rng.permuted(np.arange(1, rows * 4 + 1).reshape(rows, 4) / (2 * rows), axis=0).astype(np.float32)
    z[1:, 1] = 0
    z[:, 2] = 0
    levels = (0.0, 0.01, 0.25, 0.5, 0.99)
    found = candidate_thresholds(z, levels)
    assert found.dtype == np.float32 and found.shape == (5, 4) and not found[0].any() and not found[:, 2].any()
    for j, level in enumerate(levels[1:], start=1):
        for c in (0, 1, 3):
            below, above = (z[:, c][z[:, c] > 0] < found[j, c]).sum(), (z[:, c] > found[j, c]).sum()
            assert below <= level * (below + above + 1) < below + 1  # the threshold is one of the values


def test_a_label_over_two_features_is_split_and_one_over_one_is_not():
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.3
    half = rng.random(400) < 0.5
    z = np.stack([truth * half, truth * ~half, rng.random(400) < 0.1], 1).astype(np.float32)
    cut, level = np.zeros((1, 3), np.float32), np.zeros(3, int)
    assert sorted(splitting(z, truth, cut, level)) == [0, 1]
    z[:, 2] = truth
    assert splitting(z, truth, cut, level) == [2]
    assert splitting(np.zeros((400, 2), np.float32), truth, cut[:, :2], level[:2]) == [0]  # one, however bad


def test_a_label_is_split_over_five_features_at_most():
    truth = np.arange(90) < 70
    z = np.zeros((90, 7), np.float32)
    z[np.arange(70), np.arange(70) // 10] = 1  # of ten images each: the k-th lifts F1 by 0.25, 0.19, 0.15, 0.13, 0.11
    assert splitting(z, truth, np.zeros((1, 7), np.float32), np.zeros(7, int)) == [0, 1, 2, 3, 4]


def test_a_further_feature_has_to_lift_f1_by_three_hundredths_at_its_own_threshold():
    truth = np.arange(100) < 50
    z = np.zeros((100, 3), np.float32)
    z[:45, 0], z[45:47, 1], z[45:49, 2] = 1, 1, 0.5
    cut = np.array([[0.0] * 3, [0.7] * 3], np.float32)
    assert splitting(z, truth, cut, np.array([0, 0, 0])) == [0, 2]  # from 90 of 95 to 98 of 99: 0.042
    assert splitting(z, truth, cut, np.array([0, 0, 1])) == [0]  # from 90 of 95 to 94 of 97: 0.022


def test_absorption_counts_children_that_silence_their_parent():
    child_truth = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], bool)
    child_on = np.array([[1, 0], [1, 0], [0, 0], [0, 1], [0, 1], [1, 0]], bool)  # the third is missed by its own
    parent_on = np.array([0, 1, 0, 1, 1, 0], bool)
    assert absorption(parent_on, child_on, child_truth) == (1, 4)


def test_estimates_are_the_ratios_and_their_mean():
    z, truth = drawn(3, rows=60)
    sums = image_sums(z[:, :3] > 0, truth, 4)
    found = estimates(sums, resampling(15, 300, 0))
    for label in range(3):
        on = z[:, label] > 0
        precision, recall = (
            (on & truth[:, label]).sum() / on.sum(),
            (on & truth[:, label]).sum() / truth[:, label].sum(),
        )
        assert found["precision"][label].value == pytest.approx(precision)
        assert found["recall"][label].value == pytest.approx(recall)
        assert found["f1"][label].value == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["recall"][3].value == pytest.approx(np.mean([e.value for e in found["recall"][:3]]))
    assert all(e.low <= e.value <= e.high for of_name in found.values() for e in of_name)


def test_intervals_cover_the_true_rate_as_often_as_they_say():
    """Images whose cells go together: resampling cells would claim intervals several times too narrow."""
    rng, covered = np.random.default_rng(1), 0
    for trial in range(200):
        rate = np.repeat(rng.beta(2, 2, size=(60, 1)), 16, 1)  # each image has a rate of its own; the mean is 0.5
        on = np.ones((60 * 16, 1), bool)
        truth = (rng.random((60, 16)) < rate).reshape(-1, 1)
        found = estimates(image_sums(on, truth, 16), resampling(60, 300, trial))["precision"][0]
        covered += found.low <= 0.5 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


def test_no_error_is_no_certainty():
    truth = np.ones((10, 1), bool)
    found = estimates(image_sums(truth, truth, 1), resampling(10, 100, 0))["precision"][0]
    assert found.value == 1.0 and found.low == pytest.approx(0.025 ** (1 / 10)) and found.high == 1.0


def test_few_images_without_an_error_are_no_certainty_either():
    """Of five images among twenty some resamples draw none: their rate of 0 says nothing of the detector's errors."""
    there = np.arange(20)[:, None] < 5
    weights = resampling(20, 1000, 0)
    assert 0 < (weights[:, :5].sum(1) == 0).mean() < 0.025
    for found in estimates(image_sums(there, there, 1), weights).values():
        assert (found[0].value, found[0].high) == (1.0, 1.0)
        assert found[0].low == pytest.approx(0.025 ** (1 / 5))


def test_exact_intervals_have_as_many_trials_as_images_that_say_something():
    """Of twenty images seven fire in vain; four have the label, one of them in both of its cells."""
    on, truth = np.zeros((20, 2), bool), np.zeros((20, 2), bool)
    on[:7, 0], truth[10:14, 0], truth[10, 1] = True, True, True
    found = estimates(image_sums(on.reshape(-1, 1), truth.reshape(-1, 1), 2), resampling(20, 50, 0))
    for name, trials in (("precision", 7), ("recall", 4), ("f1", 4)):
        assert (found[name][0].value, found[name][0].low) == (0.0, 0.0)
        assert found[name][0].high == pytest.approx(1 - 0.025 ** (1 / trials))
        assert found[name][1].high == pytest.approx(1 - 0.025 ** (1 / 20))  # of the mean


def test_one_image_is_one_trial_and_none_is_as_good_as_one():
    for there in (np.arange(10)[:, None] < 1, np.arange(10)[:, None] < 0):
        found = estimates(image_sums(there, there, 1), np.ones((5, 10)))
        for name in ("precision", "recall", "f1"):
            value = float(there.any())
            assert found[name][0].value == value
            reach = (pytest.approx(0.025), 1.0) if value else (0.0, pytest.approx(0.975))
            assert (found[name][0].low, found[name][0].high) == reach


def test_intervals_are_quantiles_of_the_resampled_rates_and_of_their_mean_over_labels():
    """Each resample counted by itself, image by image, with repetition."""
    rng = np.random.default_rng(5)
    on, there = rng.random((9, 3, 2)) < 0.6, rng.random((9, 3, 2)) < 0.5
    sums = image_sums(on.reshape(-1, 2), there.reshape(-1, 2), 3)
    weights = rng.integers(0, 3, (40, 9)).astype(float)
    found = estimates(sums, weights)
    rates = {"precision": [], "recall": [], "f1": []}
    for times in weights.astype(int):
        drawn_on, drawn_there = (np.repeat(array, times, 0).reshape(-1, 2) for array in (on, there))
        both, fires, positives = (drawn_on & drawn_there).sum(0), drawn_on.sum(0), drawn_there.sum(0)
        rates["precision"].append(both / fires)
        rates["recall"].append(both / positives)
        rates["f1"].append(2 * both / (fires + positives))
    for name, of_labels in rates.items():
        columns = [*np.array(of_labels).T, [np.mean(pair) for pair in of_labels]]
        for estimate, column in zip(found[name], columns, strict=True):
            assert (estimate.low, estimate.high) == pytest.approx(
                (np.quantile(column, 0.025), np.quantile(column, 0.975))
            )


def test_resamples_draw_as_many_images_as_there_are_alike_and_by_their_seed():
    weights = resampling(30, 2000, 3)
    assert weights.shape == (2000, 30) and (weights.sum(1) == 30).all() and (weights >= 0).all()
    assert weights.mean(0) == pytest.approx(np.ones(30), abs=0.1)
    assert np.array_equal(weights, resampling(30, 2000, 3)) and not np.array_equal(weights, resampling(30, 2000, 4))


def test_nothing_fires_is_no_precision():
    off, truth = np.zeros((10, 1), bool), np.ones((10, 1), bool)
    found = estimates(image_sums(off, truth, 1), resampling(10, 100, 0))
    assert found["precision"][0].value == 0.0 and found["f1"][0].value == 0.0
    assert f1_score(np.array([0]), np.array([0]), np.array([0])).tolist() == [0.0]
