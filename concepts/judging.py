"""What the heat maps and scores of a judge say of edited images, beside those of the images before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from concepts.effects import change_outside, region_mask, share_in_region, success_in_region

SEEN = 0.5  # probability of a label at some pixel, or of a look, from which an image counts as showing it


def spatial_outcomes(
    regions: Sequence[str],
    images: Sequence[np.ndarray],
    originals: Sequence[np.ndarray],
    after_BHW: np.ndarray,
    before_BHW: np.ndarray,
    floor: float = SEEN,
) -> list[dict[str, Any]]:
    """Of each image (uint8 [height, width, 3]), from the judge's maps of the object in [0, 1], after and before.

    success: the centre of mass of what reaches the floor is in the region. effect: rise of the share of mass there.
    outside_change: mean change of pixels outside it.
    """
    outcomes = []
    for name, image, original, after, before in zip(regions, images, originals, after_BHW, before_BHW, strict=True):
        region = region_mask(name, *after.shape)
        outcomes.append(
            {
                "success": success_in_region(after, region, floor),
                "effect": share_in_region(after, region) - share_in_region(before, region),
                "outside_change": change_outside(original, image, region_mask(name, *image.shape[:2])),
            }
        )
    return outcomes


def global_outcomes(
    images: Sequence[np.ndarray], originals: Sequence[np.ndarray], after_B: np.ndarray, before_B: np.ndarray
) -> list[dict[str, Any]]:
    """Of each image (uint8 [height, width, 3]), from the judge's probabilities of the look, after and before.

    success: it finds the look more likely than not. effect: rise of its probability. outside_change: of all pixels.
    """
    return [
        {
            "success": bool(after >= SEEN),
            "effect": float(after - before),
            "outside_change": change_outside(original, image, None),
        }
        for image, original, after, before in zip(images, originals, after_B, before_B, strict=True)
    ]


class ObjectsKept:
    """How many of the objects that the judge sees in each unedited image it still sees in the edited one."""

    def __init__(self, images: int) -> None:
        self.seen, self.kept = np.zeros((2, images), int)

    def add(self, images: Sequence[int], before_BHW: np.ndarray, after_BHW: np.ndarray) -> None:
        """One object's maps in [0, 1] of some of the images (their numbers, none twice), before and after."""
        was, is_still = ((maps >= SEEN).any((1, 2)) for maps in (before_BHW, after_BHW))
        self.seen[images] += was
        self.kept[images] += was & is_still

    def shares(self) -> list[float | None]:
        """Of each image the part that is kept; None where none was seen."""
        return [float(kept / seen) if seen else None for kept, seen in zip(self.kept, self.seen, strict=True)]
