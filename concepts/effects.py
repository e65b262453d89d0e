"""Effect sizes of edits, and intervals for everything that is reported."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np


def bootstrap_interval(
    values: np.ndarray, samples: int, seed: int, statistic: Callable[..., np.ndarray] = np.mean
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over rows; ``statistic`` takes (array, axis=...)."""
    if len(values) == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(len(values), size=(samples, len(values)))]
    low, high = np.quantile(statistic(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


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
    low, high = np.quantile(sums[drawn].sum(1) / sizes[drawn].sum(1), [0.025, 0.975])
    return float(low), float(high)


def _agreed_interval(mean: float, clusters: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Of clusters that all lie at one end, as many may lie at the other as the binomial bound leaves open."""
    low, high = bounds
    reach = (1.0 - 0.025 ** (1.0 / clusters)) * (high - low)
    if np.isclose(mean, low):
        return low, low + reach
    if np.isclose(mean, high):
        return high - reach, high
    return float("nan"), float("nan")


def region_mask(name: str, height: int, width: int) -> np.ndarray:
    """bool [height, width] of a quadrant: top_left, top_right, bottom_left, bottom_right (ValueError otherwise)."""
    vertical, _, horizontal = name.partition("_")
    if vertical not in ("top", "bottom") or horizontal not in ("left", "right"):
        raise ValueError(f"unknown region {name!r}: use top_left, top_right, bottom_left or bottom_right")
    mask = np.zeros((height, width), bool)
    rows = slice(0, height // 2) if vertical == "top" else slice(height // 2, None)
    columns = slice(0, width // 2) if horizontal == "left" else slice(width // 2, None)
    mask[rows, columns] = True
    return mask


def centre_of_mass(heat: np.ndarray) -> tuple[float, float] | None:
    """(row, column) of a non-negative map [H, W], or None if it is empty."""
    total = heat.sum()
    if total <= 0:
        return None
    rows, columns = np.indices(heat.shape)
    return float((heat * rows).sum() / total), float((heat * columns).sum() / total)


def success_in_region(heat: np.ndarray, region: np.ndarray, floor: float = 0.5) -> bool:
    """Whether the map's centre of mass falls in the region; never if nothing in the map reaches ``floor``.

    Only what reaches the floor counts: a judge's haze over the whole image would pull every centre to the middle.
    """
    centre = centre_of_mass(np.where(heat >= floor, heat, 0.0))
    return centre is not None and bool(region[round(centre[0]), round(centre[1])])


def share_in_region(heat: np.ndarray, region: np.ndarray) -> float:
    """Part of the map's mass inside the region; 0 for an empty map."""
    total = float(heat.sum())
    return float(heat[region].sum()) / total if total > 0 else 0.0


def change_outside(before: np.ndarray, after: np.ndarray, region: np.ndarray | None) -> float:
    """Mean absolute change of pixels, in [0, 1], outside the region (everywhere when there is none)."""
    difference = np.abs(before.astype(np.float32) - after.astype(np.float32)).mean(-1) / 255
    return float(difference[~region].mean() if region is not None else difference.mean())
