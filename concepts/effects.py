"""Effect sizes of edits: where a map lies, and what changed outside."""

from __future__ import annotations

import numpy as np


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

    Only what reaches the floor counts: a judge's haze over the whole image would pull every centre to the middle. A
    floor of 0 takes the map as it is, haze and all, as the paper does.
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
