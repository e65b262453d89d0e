"""Reading a truth table: images of which everything that is in them is known.

A Parquet file with the columns ``caption``, ``seed``, ``image`` (PNG) and ``labels``, a list of (label, kind,
rle_counts, rle_size) where the runs are null for a label of the whole image. ``python -m miniature.truth`` writes one
of the scene world; another model's may come from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from concepts.detector_scores import Key
from concepts.overlap import cell_areas
from storage.images import decode_png
from storage.vouch import digest_of
from study.errors import StudyError
from vision.rle import decode

COLUMNS = ("caption", "seed", "image", "labels")


@dataclass(frozen=True)
class Truth:
    """images uint8 [I, H, W, 3]; ``labels`` of each image: (kind, label) -> mask bool [H, W], or None for all of it."""

    images: np.ndarray
    captions: list[str]
    seeds: list[int]
    labels: list[dict[Key, np.ndarray | None]]

    def keys(self, min_images: int) -> list[Key]:
        """Labels that at least ``min_images`` images of each half (even and odd rows) carry, sorted."""
        counts: dict[Key, np.ndarray] = {}
        for row, of_image in enumerate(self.labels):
            for key in of_image:
                counts.setdefault(key, np.zeros(2, int))[row % 2] += 1
        return sorted(key for key, count in counts.items() if count.min() >= min_images)

    def present(self, keys: list[Key]) -> np.ndarray:
        """bool [I, L]: which image carries which label."""
        return np.array([[key in of_image for key in keys] for of_image in self.labels])

    def cells(self, keys: list[Key], grid: tuple[int, int]) -> np.ndarray:
        """bool [I, cells, L]: labels that cover at least half of a cell."""
        height, width = self.images.shape[1:3]
        cell = height * width / (grid[0] * grid[1])
        covered = np.zeros((len(self.labels), grid[0] * grid[1], len(keys)), bool)
        for row, of_image in enumerate(self.labels):
            for column, key in enumerate(keys):
                if key in of_image:
                    mask = of_image[key]
                    covered[row, :, column] = True if mask is None else cell_areas(mask, grid) >= cell / 2
        return covered


def read_truth(path: Path) -> Truth:
    """Read a truth table. Raises ``StudyError`` naming the file, the column or the row, and the remedy."""
    table = _read(path)
    rows = table.to_pylist()
    if len(rows) < 2:
        raise StudyError(f"{path} has {len(rows)} rows: a truth needs images to choose on and others to score on")
    try:
        images = [decode_png(row["image"]) for row in rows]
    except (OSError, TypeError) as error:
        raise StudyError(
            f"{path}: column image holds a row that is no image ({error}): write the file again"
        ) from error
    sizes = {image.shape for image in images}
    if len(sizes) > 1:
        raise StudyError(f"{path}: images of several sizes {sorted(sizes)}: all have to be of the size the model makes")
    labels = [_labels(path, number, row["labels"], images[0].shape[:2]) for number, row in enumerate(rows)]
    return Truth(np.stack(images), [r["caption"] for r in rows], [int(r["seed"]) for r in rows], labels)


def _read(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path, partitioning=None)  # folders above it, as in seed=9, say nothing about it
    except FileNotFoundError as error:
        raise StudyError(
            f"{path} is missing: write the scene world's truth with `python -m miniature.truth --out {path}`"
        ) from error
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())[:120]})") from error
    lacking = [name for name in COLUMNS if name not in table.column_names]
    if lacking:
        raise StudyError(f"{path} lacks the column {lacking[0]!r}: a truth table has {', '.join(COLUMNS)}")
    return table.select(list(COLUMNS))


def _labels(path: Path, row: int, labels: list[dict[str, Any]], size: tuple[int, int]) -> dict[Key, np.ndarray | None]:
    masks: dict[Key, np.ndarray | None] = {}
    for label in labels:
        counts, shape = label["rle_counts"], label["rle_size"]
        try:
            mask = None if counts is None else decode(counts, shape)
        except ValueError as error:
            raise StudyError(f"{path}, row {row}, label {label['label']!r}: {error}: write the file again") from error
        if mask is not None and mask.shape != size:
            raise StudyError(f"{path}, row {row}, label {label['label']!r}: mask {mask.shape} on an image of {size}")
        masks[label["kind"], label["label"]] = mask
    return masks


def file_digest(path: Path) -> str:
    """Sixteen hex digits of a file's content."""
    return digest_of(path)[:16]
