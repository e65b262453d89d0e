"""Probes against a plain ridge regression of all cells together, and in worlds where the features tell the mask."""

import numpy as np
import pytest

from concepts.layout import Masks, fit_threshold
from concepts.layout_alone import position
from concepts.probes import PENALTIES, fit_probes, probe_layouts

CELLS, CELL = 6, 4


def world(images, features, seed, first=0):
    """Features [I, C, F] whose scales and places differ, and how much of each cell two labels cover, in pixels."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(images, CELLS, features)) * [1.0, 10.0, 0.1][:features] + rng.normal(size=(CELLS, features))
    areas = rng.integers(0, CELL + 1, size=(2, images, CELLS))
    ids = np.arange(first, first + images)
    some = ids[rng.random(images) < 0.7]
    learnt = {"tree": Masks(ids, areas[0]), "sky": Masks(some, areas[1][some - first])}
    return x, learnt


def in_runs(x, first=0, size=5):
    for start in range(0, len(x), size):
        yield (
            range(first + start, min(first + start + size, first + len(x))),
            x[start : start + size].astype(np.float32),
        )


def plain_ridge(x, images, shares, everything):
    """Weights at each penalty, from the definitions: by a label's own images, but the covariance of ``everything``."""
    prior = shares.mean(0)
    centred = everything - everything.mean(0)
    scale = np.sqrt((centred**2).mean((0, 1)))
    covariance = np.einsum("icf,icg->fg", centred / scale, centred / scale) / centred[..., 0].size
    cross = np.zeros(x.shape[-1])
    for image, share in zip(images, shares, strict=True):
        for cell in range(CELLS):
            cross += np.sqrt(prior[cell]) * (share[cell] - prior[cell]) * x[image, cell] / scale
    cross /= len(images) * prior.sum()
    solved = [np.linalg.solve(covariance + p * np.eye(len(scale)), cross) / scale for p in PENALTIES[1:]]
    return [np.zeros(len(scale)), *solved]


@pytest.mark.parametrize("features", [1, 3])
def test_probes_of_both_halves_and_of_all_against_a_plain_ridge_regression(features):
    x, learnt = world(23, features, seed=features)
    for fold, found in enumerate(fit_probes(in_runs(x), learnt, CELL)):
        chosen = [i for i in range(23) if fold == 2 or i % 2 == fold]
        assert set(found) == {"tree", "sky"}
        for label, masks in learnt.items():
            mine = np.isin(masks.prompt_ids, chosen)
            shares = masks.areas_IC[mine] / CELL
            assert found[label].prior_C == pytest.approx(shares.mean(0))
            assert found[label].mean_CF == pytest.approx(x[chosen].mean(0), abs=1e-5)
            weights = plain_ridge(x, masks.prompt_ids[mine], shares, x[chosen])
            assert pytest.approx(np.array(weights), rel=1e-3, abs=1e-6) == found[label].weights_FP.T
            scores = found[label].scores(x[3])
            by_hand = shares.mean(0) + np.sqrt(shares.mean(0)) * ((x[3] - x[chosen].mean(0)) @ weights[4])
            assert scores[:, 4] == pytest.approx(by_hand, abs=1e-4)


def test_if_all_images_have_the_label_the_weights_minimise_the_penalised_error():
    """Nudged either way, the error with its penalty rises: at any penalty, in the features' own scales."""
    x, learnt = world(30, 3, seed=4)
    shares = learnt["tree"].areas_IC / CELL
    prior, centred = shares.mean(0), x - x.mean(0)
    scale = np.sqrt((centred**2).mean((0, 1)))
    found = fit_probes(in_runs(x), {"tree": learnt["tree"]}, CELL)[2]["tree"]

    def error(weights, penalty):
        # Of one covariance for all cells the normal equations weigh each alike; so do these, cell by cell.
        fitted = np.einsum("icf,f->ic", centred, weights)
        pull = (np.sqrt(prior) * (shares - prior) * fitted).sum() / (len(x) * prior.sum())
        return (fitted**2).mean() - 2 * pull + penalty * ((weights * scale) ** 2).sum()

    for number, penalty in list(enumerate(PENALTIES))[1:]:
        best = found.weights_FP[:, number]
        for feature in range(3):
            nudge = np.zeros(3)
            nudge[feature] = 1e-3 / scale[feature]
            assert error(best, penalty) < min(error(best + nudge, penalty), error(best - nudge, penalty))


def corners(images, seed, first=0, blind=False):
    """The mask is one of six cells, and a feature is on there, beside one of nothing and one that never varies."""
    rng = np.random.default_rng(seed)
    at = rng.integers(CELLS, size=images)
    there = np.eye(CELLS)[at]
    x = np.stack(
        [rng.permuted(there, axis=1) if blind else there, rng.normal(size=there.shape), np.ones_like(there)], -1
    )
    return x, {"tree": Masks(np.arange(first, first + images), CELL * there.astype(int))}


def outcome(learning, testing):
    (x, learnt), (y, tested) = learning, testing
    return probe_layouts(lambda: in_runs(x), lambda: in_runs(y, 100), learnt, tested, CELL)["tree"]


def test_a_feature_that_is_on_where_the_mask_is_draws_it():
    found = outcome(corners(40, 0), corners(11, 1, first=100))
    assert found.ious.tolist() == [1.0] * 11


def test_features_that_say_nothing_leave_the_position():
    learning, testing = corners(400, 0, blind=True), corners(60, 1, first=100, blind=True)
    found = outcome(learning, testing)
    by_place = position(learning[1]["tree"], testing[1]["tree"], CELL)
    assert found.ious.mean() == pytest.approx(by_place.ious.mean(), abs=0.08)


def test_the_threshold_is_fitted_on_images_whose_own_masks_the_probe_has_not_seen():
    """Six images and forty features: the probe of all six can tell them by heart, those of the halves nothing."""
    rng = np.random.default_rng(0)
    x, areas = rng.normal(size=(6, CELLS, 40)), CELL * rng.integers(0, 2, size=(6, CELLS))
    learnt = {"tree": Masks(np.arange(6), areas)}
    found = probe_layouts(lambda: in_runs(x), lambda: in_runs(x), learnt, learnt, CELL)["tree"]
    even, odd, _ = fit_probes(in_runs(x), learnt, CELL)
    crossed = [
        np.stack([(odd if i % 2 == 0 else even)["tree"].scores(x[i])[:, p] for i in range(6)])
        for p in range(len(PENALTIES))
    ]
    thresholds = [fit_threshold(scores, areas, CELL) for scores in crossed]
    assert any(found.threshold == pytest.approx(threshold, rel=1e-4) for threshold in thresholds)


def test_a_label_of_one_half_alone_is_judged_by_its_prior():
    x, _ = world(12, 3, seed=0)
    sides = CELL * np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]] * 3)
    learnt = {"tree": Masks(np.arange(0, 12, 2), sides)}
    found = probe_layouts(lambda: in_runs(x), lambda: in_runs(x), learnt, learnt, CELL)["tree"]
    assert found.threshold == pytest.approx(0.5)
    even, odd, _ = fit_probes(in_runs(x), learnt, CELL)
    assert set(even) == {"tree"} and not odd
