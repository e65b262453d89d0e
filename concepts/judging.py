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


def seen(maps: np.ndarray) -> np.ndarray:
    """bool: where a judge's maps in [0, 1] show the thing."""
    return maps >= SEEN


class ThingsKept:
    """What becomes of the things that captions name: are they still seen, and where they were?"""

    def __init__(self, images: int) -> None:
        self.named, self.seen, self.were, self.kept, self.placed = np.zeros((5, images), int)
        self.overlap = np.zeros(images)

    def add(self, images: Sequence[int], before_BHW: np.ndarray, after_BHW: np.ndarray, moved: bool = False) -> None:
        """Where one thing is seen (bool) in some of the images (their numbers, none twice), before and after.

        ``moved``: it is what the edit is to move, so that its place is none to be kept.
        """
        was, is_there = before_BHW.any((1, 2)), after_BHW.any((1, 2))
        self.named[images] += 1
        self.seen[images] += is_there
        self.were[images] += was
        self.kept[images] += was & is_there
        if not moved:
            both, either = (before_BHW & after_BHW).sum((1, 2)), (before_BHW | after_BHW).sum((1, 2))
            self.placed[images] += was
            self.overlap[images] += np.where(was, both / np.maximum(either, 1), 0.0)

    def shares(self) -> list[float | None]:
        """Of each image the part that is kept of what was seen before; None where nothing was."""
        return _quotients(self.kept, self.were)

    def ious(self) -> list[float | None]:
        """Of each image the mean IoU of places before and after, of what was seen before; None where nothing was."""
        return _quotients(self.overlap, self.placed)

    def fidelities(self) -> list[float | None]:
        """Of each image the part that is seen of what its caption names; None where it names nothing."""
        return _quotients(self.seen, self.named)


def _quotients(parts: np.ndarray, wholes: np.ndarray) -> list[float | None]:
    return [float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)]
