"""Detectors, splitting and absorption against brute force, planted cases and simulated coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.detectors import (
    CELL_LEVELS,
    absorption,
    choose,
    count_hits,
    estimates,
    f1_score,
    fires_on,
    image_sums,
    resampling,
    splitting,
    thresholds,
)


def drawn(seed, rows=40, features=5, labels=3):
    rng = np.random.default_rng(seed)
    z = np.maximum(rng.normal(size=(rows, features)), 0).astype(np.float32) * (rng.random((rows, features)) < 0.6)
    return z.astype(np.float32), rng.random((rows, labels)) < 0.4


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_counts_and_choice_equal_a_loop_over_everything(seed):
    z, truth = drawn(seed)
    cut = thresholds(z, CELL_LEVELS)
    hits, fires = count_hits(z, truth, cut)
    choice = choose(hits, fires, truth.sum(0))
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


def test_thresholds_are_zero_and_then_quantiles_of_what_is_positive():
    z = np.array([[0, 1, 2, 3, 4, 0, 0, 5, 6, 7, 8]], np.float32).T
    assert thresholds(z, (0.0, 0.5))[:, 0].tolist() == [0.0, 5.0]  # the positives are 1 to 8
    assert thresholds(np.zeros((4, 1), np.float32), (0.0, 0.5)).tolist() == [[0.0], [0.0]]


def test_a_label_over_two_features_is_split_and_one_over_one_is_not():
    rng = np.random.default_rng(0)
    truth = rng.random(400) < 0.3
    half = rng.random(400) < 0.5
    z = np.stack([truth * half, truth * ~half, rng.random(400) < 0.1], 1).astype(np.float32)
    cut, level = np.zeros((1, 3), np.float32), np.zeros(3, int)
    assert sorted(splitting(z, truth, cut, level)) == [0, 1]
    z[:, 2] = truth
    assert splitting(z, truth, cut, level) == [2]
    assert splitting(np.zeros((400, 2), np.float32), truth, cut[:, :2], level[:2]) in ([], [0])


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


def test_nothing_fires_is_no_precision():
    off, truth = np.zeros((10, 1), bool), np.ones((10, 1), bool)
    found = estimates(image_sums(off, truth, 1), resampling(10, 100, 0))
    assert found["precision"][0].value == 0.0 and found["f1"][0].value == 0.0
    assert f1_score(np.array([0]), np.array([0]), np.array([0])).tolist() == [0.0]
