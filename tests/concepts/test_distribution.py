"""Distances from a distribution against numpy's inverse, and where they are known beforehand."""

import numpy as np
import pytest
import torch

from concepts.distribution import RIDGE, Distribution


def skewed(count=4000, seed=0):
    """Vectors of four channels with variances about 100, 9, 1 and 0.01 along turned axes, about a mean of 5."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    return (rng.normal(size=(count, 4)) * [10.0, 3.0, 1.0, 0.1]) @ axes.T + 5.0, axes


@pytest.mark.parametrize("ridge", [RIDGE, 0.5])
def test_equals_the_inverse_of_the_ridged_covariance(ridge):
    x, _ = skewed()
    asked = np.random.default_rng(1).normal(size=(2, 3, 5, 4)) * 6
    covariance = np.cov(x.T, bias=True)
    ridged = covariance + ridge * np.trace(covariance) / 4 * np.eye(4)
    apart = asked - x.mean(0)
    expected = np.sqrt(np.einsum("...i,ij,...j->...", apart, np.linalg.inv(ridged), apart))
    found = Distribution.fit(x, ridge).distances(torch.from_numpy(asked).float())
    assert found.shape == (2, 3, 5) and found.numpy() == pytest.approx(expected, rel=1e-4)


def test_a_step_along_the_least_axis_goes_further_than_along_the_first():
    x, axes = skewed()
    fitted = Distribution.fit(x)
    first, least = (fitted.distances(torch.from_numpy(x.mean(0) + axes[:, i]).float()).item() for i in (0, 3))
    assert first == pytest.approx(1 / 10, rel=0.1)
    assert least == pytest.approx(1 / np.sqrt(0.01 + RIDGE * 110.01 / 4), rel=0.1) and least > 50 * first


def test_vectors_of_the_distribution_are_at_the_root_of_the_channels():
    """Squared distances of the fitted vectors themselves have the mean D, but for the ridge."""
    x, _ = skewed()
    found = Distribution.fit(x, 0.0).distances(torch.from_numpy(x).float())
    assert (found**2).mean().item() == pytest.approx(4, rel=1e-3)


def test_a_channel_that_never_varies_is_no_infinity_and_a_constant_is_refused():
    x, _ = skewed()
    x[:, 2] = 7.0
    found = Distribution.fit(x).distances(torch.full((1, 4), 7.0))
    assert torch.isfinite(found).all()
    with pytest.raises(ValueError, match="do not vary"):
        Distribution.fit(np.full((5, 3), 2.0))
