"""What stages read of the stages before them: prompts, images, and the labelled areas of segmented images."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from storage.images import decode_png
from storage.tables import read_table, scan_batches
from study.errors import StudyError
from study.paths import planned_prompts, shard_name, split_ranges, split_runs
from study.publish import read_shards
from study.study import Study
from study.units import SEGMENTED_SPLITS
from vision.grids import Grid, area_of, grid_name
from vision.rle import decode


def prompts_of(study: Study, start: int, stop: int) -> pa.Table:
    """Rows of the ``prompts`` table with start <= prompt_id < stop."""
    return read_table(study.root, "prompts", filters=[("prompt_id", ">=", start), ("prompt_id", "<", stop)])


def prompts_of_split(study: Study, split: str) -> pa.Table:
    """Rows of the ``prompts`` table of a split."""
    return pa.concat_tables([prompts_of(study, start, stop) for start, stop in split_ranges(study, split)])


def refuse_unknown_prompt(study: Study, prompt_id: int) -> None:
    """Raise ``StudyError`` for a number that is no prompt's."""
    total = planned_prompts(study)
    if not 0 <= prompt_id < total:
        raise StudyError(f"{study.root} has no prompt {prompt_id}: they go from 0 to {total - 1}")


def images_of(study: Study, start: int, stop: int) -> dict[int, np.ndarray]:
    """Decoded images by prompt id, start <= prompt_id < stop, of those that are kept.

    Raises ``StudyError`` for one that is damaged.
    """
    return _decoded(study, read_shards(study, "images", start, stop, ["prompt_id", "image"]))


def images_by_id(study: Study, prompt_ids: list[int]) -> dict[int, np.ndarray]:
    """Decoded images of the named prompts. Raises ``StudyError`` for one that is damaged."""
    return _decoded(study, read_table(study.root, "images", filters=[("prompt_id", "in", prompt_ids)]))


def _decoded(study: Study, rows: pa.Table) -> dict[int, np.ndarray]:
    images = {}
    for prompt_id, data in zip(rows["prompt_id"].to_pylist(), rows["image"].to_pylist(), strict=True):
        try:
            images[prompt_id] = decode_png(data)
        except OSError as error:
            shard = shard_name(prompt_id // study.config.prompts.shard_size)
            raise StudyError(
                f"{study.root}: table images holds for prompt {prompt_id} bytes that are no image ({error}): "
                f"run `concepts repair {study.root} --unit collect/{shard}`, then the study again"
            ) from error
    return images


def label_areas(study: Study, start: int, stop: int, grid: Grid) -> dict[int, dict[str, np.ndarray]]:
    """prompt id -> label -> int64 [cells], pixels of the label in each cell, for start <= prompt_id < stop.

    An image without segments is left out.
    """
    rows = _at_grid(study, "label_cells", start, stop, grid, ["prompt_id", "label", "cells", "pixels"])
    ids, labels = rows["prompt_id"].to_pylist(), rows["label"].to_pylist()
    cells, pixels = (rows[name].combine_chunks() for name in ("cells", "pixels"))
    offsets = cells.offsets.to_numpy()
    all_cells, all_pixels = cells.values.to_numpy(), pixels.values.to_numpy()
    areas: dict[int, dict[str, np.ndarray]] = {}
    for row, (prompt_id, label) in enumerate(zip(ids, labels, strict=True)):
        at = slice(offsets[row], offsets[row + 1])
        areas.setdefault(prompt_id, {})[label] = area_of(all_cells[at], all_pixels[at], grid)
    return areas


def cell_colours(study: Study, start: int, stop: int, grid: Grid) -> dict[int, np.ndarray]:
    """prompt id -> uint8 [cells, 3], mean colour of each cell, for start <= prompt_id < stop."""
    rows = _at_grid(study, "cell_colours", start, stop, grid, ["prompt_id", "rgb"])
    return {
        prompt_id: np.frombuffer(rgb, np.uint8).reshape(-1, 3)
        for prompt_id, rgb in zip(rows["prompt_id"].to_pylist(), rows["rgb"].to_pylist(), strict=True)
    }


def label_masks(study: Study, start: int, stop: int) -> dict[int, dict[str, np.ndarray]]:
    """prompt id -> label -> union mask bool [H, W], for start <= prompt_id < stop."""
    columns = ["prompt_id", "label", "rle_counts", "rle_size"]
    masks: dict[int, dict[str, np.ndarray]] = {}
    for row in read_shards(study, "segments", start, stop, columns, SEGMENTED_SPLITS).to_pylist():
        mask = decode(row["rle_counts"], tuple(row["rle_size"]))
        of_image = masks.setdefault(row["prompt_id"], {})
        known = of_image.get(row["label"])
        of_image[row["label"]] = mask if known is None else known | mask
    return masks


def _at_grid(study: Study, table: str, start: int, stop: int, grid: Grid, columns: list[str]) -> pa.Table:
    return read_shards(study, table, start, stop, columns, SEGMENTED_SPLITS, [("grid", "==", grid_name(grid))])


def study_labels(study: Study) -> list[str]:
    """Every label that occurs in the segments of the dictionary split, sorted."""
    labels: set[str] = set()
    if study.config.prompts.grows:  # many ranges, and a part for each shard of them
        for first, last in split_runs(study, "dictionary"):
            labels.update(read_shards(study, "segments", first, last, ["label"], SEGMENTED_SPLITS)["label"].to_pylist())
        return sorted(labels)
    ((start, stop),) = split_ranges(study, "dictionary")
    filters = [("prompt_id", ">=", start), ("prompt_id", "<", stop)]
    for batch in scan_batches(study.root, "segments", ["label"], filters):
        labels.update(batch.column("label").unique().to_pylist())
    return sorted(labels)


def image_area(study: Study) -> int:
    """Pixels of an image; all images of a study have one size."""
    height, width = image_size(study)
    return height * width


def image_size(study: Study) -> tuple[int, int]:
    """Height and width of an image in pixels; all images of a study have one size."""
    start, _ = split_ranges(study, "dictionary")[0]
    sizes = read_shards(study, "images", start, start + 1, ["height", "width"]).to_pylist()
    return int(sizes[0]["height"]), int(sizes[0]["width"])
