"""What every backend asks of images, and how they are taken in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from vision.errors import VisionError
from vision.types import Image

T = TypeVar("T")


def check_images(images: Sequence[Image]) -> None:
    """Raise ``VisionError`` unless every image is uint8 [H, W, 3] with at least one pixel."""
    for number, image in enumerate(images):
        if not isinstance(image, np.ndarray):
            raise VisionError(f"image {number} is a {type(image).__name__}: give a uint8 array [height, width, 3]")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise VisionError(
                f"image {number} is {image.dtype} {list(image.shape)}: every image must be uint8 [height, width, 3], "
                "RGB, with at least one pixel (stack a grey image three times, drop an alpha channel)"
            )


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Runs of at most ``size`` items, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def grouped(items: Sequence[T], key: Callable[[T], object]) -> list[list[T]]:
    """Items of equal key together, groups and members in order of first appearance."""
    groups: dict[object, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())
