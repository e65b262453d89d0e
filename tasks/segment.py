"""Segmenting: the steps tag -> detect -> segment -> areas over one shard of images, each with a table of its own.

Every step reads what the step before wrote, so it can be done again alone, and needs nothing but the shard's number.
An image is segmented once and serves every SAE: labelling reads only ``label_cells``, pixels in each grid cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from concepts.overlap import cell_areas
from study.errors import StudyError
from study.models import backend_of
from study.paths import in_split, planned_prompts, shard_name
from study.publish import publish, read_shards
from study.reading import images_of, label_masks, prompts_of
from study.store import store_of
from study.study import Study
from study.units import SEGMENTED_SPLITS
from vision.ceiling import iou_ceiling
from vision.grids import Grid, divides, filled_cells, grid_name, mean_colours
from vision.rle import encode
from vision.types import Box, Segment, Tag, distinct

Opinions = Sequence[Sequence[float | None]]
T = TypeVar("T")


def segmented_ids(study: Study, shard: int) -> list[int]:
    """Prompt ids of a shard that belong to a split whose images are segmented."""
    size = study.config.prompts.shard_size
    ids = range(shard * size, min((shard + 1) * size, planned_prompts(study)))
    return [i for i in ids if any(in_split(study, split, i) for split in SEGMENTED_SPLITS)]


def tag_shard(study: Study, shard: int) -> dict[str, Any]:
    """What might be in each image of the shard, as its part of ``tags``."""
    ids, images = _images(study, shard)
    captions = prompts_of(study, ids[0], ids[-1] + 1)["caption"].to_pylist()
    backend = backend_of(study)
    tags_of = backend.tagger.tag(images, [captions[i - ids[0]] for i in ids])
    rows = [
        {"prompt_id": prompt_id, "label": tag.label, "score": tag.score, "tagger": backend.name}
        for prompt_id, tags in zip(ids, tags_of, strict=True)
        for tag in distinct(tags)
    ]
    return _publish(study, "tag", shard, ids, {"tags": rows})


def detect_shard(study: Study, shard: int) -> dict[str, Any]:
    """Boxes of the tagged labels in each image of the shard, as its part of ``boxes``."""
    ids, images = _images(study, shard)
    tags = _by_image(study, "tags", ids, lambda row: Tag(row["label"], row["score"]))
    boxes_of = backend_of(study).detector.detect(images, [distinct(of_image) for of_image in tags])
    rows = [
        {
            "prompt_id": prompt_id,
            "box_id": number,
            "label": box.label,
            "score": box.score,
            "tag_score": box.tag_score,
            "box": [float(v) for v in box.xyxy],
        }
        for prompt_id, boxes in zip(ids, boxes_of, strict=True)
        for number, box in enumerate(boxes)
    ]
    return _publish(study, "detect", shard, ids, {"boxes": rows})


def segment_shard(study: Study, shard: int) -> dict[str, Any]:
    """Masks of the boxes in each image of the shard, as its part of ``segments``.

    ``second_opinion`` is what the backend's second model says of each, null where the backend has none.
    """
    ids, images = _images(study, shard)
    boxes = _by_image(
        study, "boxes", ids, lambda row: Box(row["label"], row["score"], row["tag_score"], tuple(row["box"]))
    )
    backend = backend_of(study)
    segments_of = backend.segmenter.segment(images, boxes)
    opinion = backend.opinion
    none: Opinions = [[None] * len(segments) for segments in segments_of]
    opinions: Opinions = opinion.confirm(images, segments_of) if opinion else none
    grids = _grids(study, images[0])
    rows = [
        _row(prompt_id, number, segment, backend.name, grids) | {"second_opinion": second}
        for prompt_id, segments, seconds in zip(ids, segments_of, opinions, strict=True)
        for number, (segment, second) in enumerate(zip(segments, seconds, strict=True))
    ]
    return _publish(study, "segment", shard, ids, {"segments": rows})


def areas_of_shard(study: Study, shard: int) -> dict[str, Any]:
    """Pixels of each label in each cell of every grid as ``label_cells``, their mean colours as ``cell_colours``."""
    ids, images = _images(study, shard)
    masks = label_masks(study, ids[0], ids[-1] + 1)
    cells: list[dict[str, Any]] = []
    colours: list[dict[str, Any]] = []
    for grid in _grids(study, images[0]):
        for prompt_id, image in zip(ids, images, strict=True):
            at = {"prompt_id": prompt_id, "grid": grid_name(grid)}
            cells += [{**at, **_cells(label, mask, grid)} for label, mask in masks.get(prompt_id, {}).items()]
            colours.append({**at, "rgb": mean_colours(image, grid).tobytes()})
    return _publish(study, "areas", shard, ids, {"label_cells": cells, "cell_colours": colours})


def _images(study: Study, shard: int) -> tuple[list[int], list[np.ndarray]]:
    ids = segmented_ids(study, shard)
    images = images_of(study, ids[0], ids[-1] + 1)
    return ids, [images[i] for i in ids]


def _by_image(study: Study, table: str, ids: list[int], read: Callable[[dict[str, Any]], T]) -> list[list[T]]:
    """The rows of each image, in the order of the table's key."""
    of_image: dict[int, list[T]] = {prompt_id: [] for prompt_id in ids}
    for row in read_shards(study, table, ids[0], ids[-1] + 1, splits=SEGMENTED_SPLITS).to_pylist():
        of_image[row["prompt_id"]].append(read(row))
    return list(of_image.values())


def _publish(study: Study, stage: str, shard: int, ids: list[int], tables: dict[str, Any]) -> dict[str, Any]:
    publish(study, stage, shard_name(shard), tables, extra={"images": len(ids)})
    return {"shard": shard, "images": len(ids), **{table: len(rows) for table, rows in tables.items()}}


def _grids(study: Study, image: np.ndarray) -> list[Grid]:
    """The grids of the study's sites; all of its images have one size, and every grid must divide it."""
    store = store_of(study)
    grids = sorted({store.shape(site)[:2] for site in store.sites})
    height, width = image.shape[:2]
    for rows, columns in grids:
        if not divides((rows, columns), (height, width)):
            raise StudyError(
                f"a site's grid of {rows} x {columns} does not divide images of {height} x {width} px: choose "
                "sampling.height and sampling.width that it divides, or leave the block out of sites.blocks"
            )
    return grids


def _row(prompt_id: int, number: int, segment: Segment, backend: str, grids: list[Grid]) -> dict[str, Any]:
    counts, size = encode(segment.mask)
    ceilings = [{"grid": grid_name(grid), "value": iou_ceiling(segment.mask, grid)} for grid in grids]
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


def _cells(label: str, mask: np.ndarray, grid: Grid) -> dict[str, Any]:
    area = cell_areas(mask, grid)
    filled = filled_cells(area)
    return {
        "label": label,
        "area_px": int(area.sum()),
        "cells": filled.cells,
        "pixels": filled.pixels,
        "iou_ceiling": iou_ceiling(mask, grid),
    }
