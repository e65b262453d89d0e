"""COCO's uncompressed run-length encoding of masks: column-major, the first run counts zeros.

By hand: pycocotools writes the compressed form alone, of which SQL can ask nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def encode(mask: np.ndarray) -> tuple[list[int], tuple[int, int]]:
    """bool [H, W] -> (run lengths, (H, W))."""
    height, width = mask.shape
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(bounds).tolist()
    return ([0, *counts] if flat.size and flat[0] else counts), (height, width)


def decode(counts: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Inverse of ``encode``. Raises ValueError if the runs do not fill the mask."""
    height, width = size
    if sum(counts) != height * width:
        raise ValueError(f"runs cover {sum(counts)} pixels, the mask has {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((height, width), order="F")
