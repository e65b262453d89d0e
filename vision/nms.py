"""Removing repeats: boxes of one label that overlap, masks of one label that coincide.

By hand: torchvision's suppression leaves open which of two equal scores stays, and is bound to one release of torch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vision.images import grouped
from vision.types import Box, Segment

Xyxy = tuple[float, float, float, float]


def mask_iou(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two bool [H, W] masks; 0 if both are empty."""
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 0.0


def label_unions(segments: list[Segment]) -> dict[str, np.ndarray]:
    """Label -> bool [H, W]: the pixels of all of an image's segments of that label."""
    unions: dict[str, np.ndarray] = {}
    for segment in segments:
        known = unions.get(segment.label)
        unions[segment.label] = segment.mask if known is None else known | segment.mask
    return unions


def suppress(boxes: list[Box], iou: float) -> list[Box]:
    """Class-aware non-maximum suppression: the best box of a label removes its overlapping namesakes.

    Best first; of equal scores the first by label, then by corners. Repeats go when their IoU exceeds ``iou``.
    """
    kept = [box for namesakes in grouped(boxes, lambda box: box.label) for box in _suppress_namesakes(namesakes, iou)]
    return sorted(kept, key=_rank)


def merge_masks(segments: list[Segment], iou: float) -> list[Segment]:
    """Join masks of one label whose IoU exceeds ``iou``; the joined segment keeps the better one's scores."""
    merged = [
        segment
        for namesakes in grouped(segments, lambda segment: segment.label)
        for segment in _merge_namesakes(namesakes, iou)
    ]
    return sorted(merged, key=lambda s: (-s.mask_score, s.label, s.xyxy))


def _rank(box: Box) -> tuple[float, str, Xyxy]:
    return -box.score, box.label, box.xyxy


def _suppress_namesakes(boxes: list[Box], iou: float) -> list[Box]:
    ranked = sorted(boxes, key=_rank)
    corners = np.array([box.xyxy for box in ranked], float)
    alive = np.ones(len(ranked), bool)
    for i in range(len(ranked)):
        if alive[i]:
            alive[i + 1 :] &= box_ious(corners[i], corners[i + 1 :]) <= iou
    return [box for box, stays in zip(ranked, alive, strict=True) if stays]


def box_ious(a: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one box [4] (x0, y0, x1, y1) with each of [N, 4]; 0 where both are empty."""
    (low, high), corners = a.reshape(2, 2), others.reshape(-1, 2, 2)
    lows, highs = corners[:, 0], corners[:, 1]
    inter = np.clip(np.minimum(high, highs) - np.maximum(low, lows), 0, None).prod(1)
    union = (high - low).prod() + (highs - lows).prod(1) - inter
    return np.divide(inter, union, out=np.zeros(len(others)), where=union > 0)


def _merge_namesakes(segments: list[Segment], iou: float) -> list[Segment]:
    kept: list[Segment] = []
    areas: list[int] = []
    for segment in sorted(segments, key=lambda s: (-s.mask_score, s.xyxy)):
        area = int(segment.mask.sum())
        for i, other in enumerate(kept):
            # IoU is at most the ratio of the areas: most pairs need no look at their pixels.
            hopeful = min(area, areas[i]) > iou * max(area, areas[i])
            if hopeful and mask_iou(segment.mask, other.mask) > iou:
                kept[i] = replace(other, mask=segment.mask | other.mask)
                areas[i] = int(kept[i].mask.sum())
                break
        else:
            kept.append(segment)
            areas.append(area)
    return kept
