"""Effect sizes of edits, and intervals for everything that is reported."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def wilson(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion. n = 0 gives (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


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
