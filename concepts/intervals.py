"""95 % intervals of all that is reported: by resampling, by the exact binomial bound, by the delta method."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from scipy.stats import t as student

TAILS = (0.025, 0.975)
Z95 = 1.959964  # of the normal distribution


def percentiles(drawn: np.ndarray) -> tuple[float, float]:
    """The interval that resampled values [samples] give."""
    low, high = np.quantile(drawn, TAILS)
    return float(low), float(high)


def exact_reach(trials: int) -> float:
    """How large a share may be that was not seen once in so many trials: the one-sided binomial bound at 2.5 %."""
    return float(1.0 - TAILS[0] ** (1.0 / trials))


def resampling(images: int, samples: int, seed: int) -> np.ndarray:
    """float64 [samples, images]: how often each bootstrap sample draws each image."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1.0 / images), size=samples).astype(float)


def resampled_share(value: float, drawn: np.ndarray, trials: int) -> tuple[float, float]:
    """Of a share, given its resamples [samples].

    Where resampling would claim certainty, since all agree, it reaches as far as the exact bound for ``trials``.
    """
    low, high = percentiles(drawn)
    if low == high:  # but for resamples that drew no image with the label at all
        reach = exact_reach(max(int(trials), 1))
        return max(0.0, float(value) - reach), min(1.0, float(value) + reach)
    return low, high


def delta_interval(value: float, error: float) -> tuple[float, float]:
    """Of a share with a standard error, by the normal distribution, within [0, 1]."""
    return max(0.0, value - Z95 * error), min(1.0, value + Z95 * error)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` [n] by Student's t; of paired differences, the paired t-test's.

    (nan, nan) for fewer than two.
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    reach = float(student.ppf(TAILS[1], len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def bootstrap_interval(
    values: np.ndarray, samples: int, seed: int, statistic: Callable[..., np.ndarray] = np.mean
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over rows; ``statistic`` takes (array, axis=...)."""
    if len(values) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=(samples, len(values)))]
    return percentiles(statistic(drawn, axis=1))


def cluster_interval(
    values: np.ndarray, clusters: Sequence[Hashable], samples: int, seed: int, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float]:
    """95 % percentile interval of the mean of ``values`` [n], whole clusters resampled; (nan, nan) if there are none.

    Values of one cluster are not independent, and resampling them one by one would make the interval too narrow. Where
    all clusters agree resampling would claim certainty. At an end of ``bounds`` the interval reaches as far as the
    exact binomial bound for as many trials as clusters (none of 10 may be 31 %); anywhere else, as for a difference
    that is 0 in every cluster or a share that every cluster has by design, there is no interval: (nan, nan).
    """
    if not len(values):
        return float("nan"), float("nan")
    names = {name: number for number, name in enumerate(dict.fromkeys(clusters))}
    of_value = np.array([names[name] for name in clusters])
    sums, sizes = np.bincount(of_value, values), np.bincount(of_value)
    means = sums / sizes
    if np.allclose(means, means[0]):
        return _agreed_interval(float(means[0]), len(names), bounds)
    drawn = np.random.default_rng(seed).integers(len(names), size=(samples, len(names)))
    return percentiles(sums[drawn].sum(1) / sizes[drawn].sum(1))


def _agreed_interval(mean: float, clusters: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Of clusters that all lie at one end, as many may lie at the other as the binomial bound leaves open."""
    low, high = bounds
    reach = exact_reach(clusters) * (high - low)
    if np.isclose(mean, low):
        return low, low + reach
    if np.isclose(mean, high):
        return high - reach, high
    return float("nan"), float("nan")
