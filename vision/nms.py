"""Removing repeats: boxes of one label that overlap, masks of one label that coincide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vision.types import Box, Segment

Xyxy = tuple[float, float, float, float]


def box_iou(a: Xyxy, b: Xyxy) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


def suppress(boxes: list[Box], iou: float) -> list[Box]:
    """Class-aware non-maximum suppression: the best box of a label removes its overlapping namesakes."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda b: (-b.score, b.label, b.xyxy)):
        if all(box.label != k.label or box_iou(box.xyxy, k.xyxy) <= iou for k in kept):
            kept.append(box)
    return kept


def merge_masks(segments: list[Segment], iou: float) -> list[Segment]:
    """Join masks of one label whose IoU exceeds ``iou``; the joined segment keeps the better one's scores."""
    kept: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (-s.mask_score, s.label, s.xyxy)):
        for i, other in enumerate(kept):
            inter = np.logical_and(segment.mask, other.mask).sum()
            union = np.logical_or(segment.mask, other.mask).sum()
            if segment.label == other.label and union and inter / union > iou:
                kept[i] = replace(other, mask=segment.mask | other.mask)
                break
        else:
            kept.append(segment)
    return kept
