"""Segmenting: the graph tag -> detect -> segment over one shard of images, into the ``segments`` table."""

from __future__ import annotations

from typing import Any

import numpy as np

from storage.tables import read_table
from tasks.collect import images_of, prompts_of
from tasks.parts import publish, shard_name
from tasks.study import Study, backend_of, split_range, store_of
from vision.ceiling import iou_ceiling
from vision.rle import decode, encode
from vision.types import Box, Segment, Tag

SEGMENTED_SPLITS = ("dictionary", "layout")


def segmented_ids(study: Study, shard: int) -> list[int]:
    """Prompt ids of a shard that belong to a split whose images are segmented."""
    start, stop = store_of(study).shard_range(shard)
    ranges = [split_range(study, split) for split in SEGMENTED_SPLITS]
    return [i for i in range(start, stop) if any(low <= i < high for low, high in ranges)]


def _inputs(study: Study, shard: int) -> tuple[list[int], list[np.ndarray], list[str]]:
    ids = segmented_ids(study, shard)
    images = images_of(study, ids[0], ids[-1] + 1)
    captions = prompts_of(study, ids[0], ids[-1] + 1)["caption"].to_pylist()
    return ids, [images[i] for i in ids], [captions[i - ids[0]] for i in ids]


def tag_images(study: Study, shard: int) -> list[list[Tag]]:
    """What might be in each image of the shard, in the order of ``segmented_ids``."""
    _, images, captions = _inputs(study, shard)
    return backend_of(study).tagger.tag(images, captions)


def detect_boxes(study: Study, shard: int, tags: list[list[Tag]]) -> list[list[Box]]:
    """Boxes of the tagged labels in each image."""
    _, images, _ = _inputs(study, shard)
    return backend_of(study).detector.detect(images, tags)


def segment_boxes(study: Study, shard: int, boxes: list[list[Box]]) -> dict[str, Any]:
    """Masks of the boxes, written as the shard's part of ``segments`` with its completion record."""
    ids, images, _ = _inputs(study, shard)
    backend = backend_of(study)
    found = backend.segmenter.segment(images, boxes)
    grids = _grids(study)
    rows = [
        _row(prompt_id, number, segment, backend.name, grids)
        for prompt_id, segments in zip(ids, found, strict=True)
        for number, segment in enumerate(segments)
    ]
    publish(study, "segment", shard_name(shard), {"segments": rows}, extra={"rows": len(rows), "images": len(ids)})
    return {"shard": shard, "images": len(ids), "segments": len(rows)}


def _grids(study: Study) -> list[tuple[int, int]]:
    store = store_of(study)
    return sorted({store.shape(site)[:2] for site in store.sites})


def _row(prompt_id: int, number: int, segment: Segment, backend: str, grids: list[tuple[int, int]]) -> dict[str, Any]:
    counts, size = encode(segment.mask)
    ceilings = [{"grid": f"{h}x{w}", "value": iou_ceiling(segment.mask, (h, w))} for h, w in grids]
    return {
        "prompt_id": prompt_id,
        "segment_id": number,
        "label": segment.label,
        "backend": backend,
        "tag_score": segment.tag_score,
        "box_score": segment.box_score,
        "mask_score": segment.mask_score,
        "box": [float(v) for v in segment.xyxy],
        "area_px": int(segment.mask.sum()),
        "rle_counts": counts,
        "rle_size": list(size),
        "iou_ceiling": ceilings,
    }


def label_masks(study: Study, start: int, stop: int) -> dict[int, dict[str, np.ndarray]]:
    """prompt id -> label -> union mask bool [H, W], for start <= prompt_id < stop."""
    rows = read_table(
        study.root,
        "segments",
        columns=["prompt_id", "label", "rle_counts", "rle_size"],
        filters=[("prompt_id", ">=", start), ("prompt_id", "<", stop)],
    )
    masks: dict[int, dict[str, np.ndarray]] = {}
    for row in rows.to_pylist():
        mask = decode(row["rle_counts"], tuple(row["rle_size"]))
        of_image = masks.setdefault(row["prompt_id"], {})
        known = of_image.get(row["label"])
        of_image[row["label"]] = mask if known is None else known | mask
    return masks
