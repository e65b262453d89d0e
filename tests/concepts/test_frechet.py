"""The Frechet distance against Gaussians whose distance is known, and against the matrix root that it avoids."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from concepts.frechet import frechet_chance, frechet_distance


def with_moments(count, mean, deviations, seed=0):
    """Vectors whose sample mean and covariance are exactly these, the covariance diagonal."""
    drawn = np.random.default_rng(seed).normal(size=(count, len(mean)))
    drawn -= drawn.mean(0)
    white = np.linalg.qr(drawn)[0] * np.sqrt(count - 1)
    return white * deviations + mean


def by_matrix_root(x, y):
    """As Heusel et al. write it."""
    covariances = [np.cov(z.T) for z in (x, y)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(sum(covariances) - 2 * root)


def test_diagonal_gaussians_have_a_closed_form():
    """The squared distance of means, and of deviations."""
    means, deviations = np.array([[0.0, 1.0, -2.0], [0.5, 1.0, 1.0]]), np.array([[1.0, 2.0, 0.5], [3.0, 2.0, 0.25]])
    x, y = (with_moments(40, m, d, seed) for seed, (m, d) in enumerate(zip(means, deviations, strict=True)))
    expected = 0.25 + 9.0 + 4.0 + 0.0625
    assert frechet_distance(x, y) == pytest.approx(expected)
    assert frechet_distance(y, x) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(200, 90), (30, 45)])
def test_equals_the_matrix_root(n, m):
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(2, 12, 12))
    x, y = rng.normal(size=(n, 12)) @ mixing[0], rng.normal(size=(m, 12)) @ mixing[1] + 0.3
    assert frechet_distance(x, y) == pytest.approx(by_matrix_root(x, y))
    assert frechet_distance(x.astype(np.float32), y.astype(np.float32)) == pytest.approx(by_matrix_root(x, y), rel=1e-4)


def test_fewer_images_than_features():
    """Five images in eight features, where covariances are singular: those of the other set in their span alone."""
    x = np.zeros((5, 8))
    x[:, :2] = with_moments(5, [0.0, 0.0], [2.0, 1.0])
    y = np.zeros((5, 8))
    y[:, 1:3] = with_moments(5, [0.0, 3.0], [4.0, 1.0])
    # Axis 0: 2 against 0; axis 1: 1 against 4; axis 2: a mean of 3 and a deviation of 1 against none.
    assert frechet_distance(x, y) == pytest.approx(4 + 9 + 1 + 9)


def test_equal_sets_are_at_no_distance_and_one_image_at_none():
    x = np.random.default_rng(2).normal(size=(6, 9))
    assert frechet_distance(x, x[::-1]) == pytest.approx(0.0, abs=1e-9) and frechet_distance(x, x) >= 0
    assert frechet_distance(x[:1], x) is None is frechet_distance(x, x[:1])


def test_chance_is_the_mean_over_random_halves():
    """Of four images there are three ways to halve them; of five one is left out; of three a half is one image."""
    x = np.random.default_rng(3).normal(size=(4, 1))
    halves = [(x[[0, i]], np.delete(x, [0, i], axis=0)) for i in (1, 2, 3)]
    known = [(a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2 for a, b in halves]
    assert min(known) < frechet_chance(x, 20, 0) < max(known)
    assert frechet_chance(x, 3000, 0) == pytest.approx(np.mean(known), rel=0.05)
    assert frechet_chance(x, 20, 0) == frechet_chance(x, 20, 0) != frechet_chance(x, 20, 1)
    assert frechet_chance(x[:3], 20, 0) is None
    assert frechet_chance(np.vstack([x, x[:1]]), 20, 0) > 0


def test_chance_falls_as_images_become_more():
    drawn = np.random.default_rng(4).normal(size=(400, 5))
    few, many = (frechet_chance(drawn[:n], 20, 0) for n in (20, 400))
    assert many < few / 5


def test_halves_of_an_odd_number_of_images_leave_one_out():
    x = np.random.default_rng(5).normal(size=(7, 2))
    orders = np.random.default_rng(3)
    halves = [orders.permutation(7) for _ in range(4)]
    by_hand = [frechet_distance(x[order[:3]], x[order[3:6]]) for order in halves]
    assert frechet_chance(x, 4, 3) == pytest.approx(np.mean(by_hand))
