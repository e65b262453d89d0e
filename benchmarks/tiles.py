"""A vision backend that needs no model: every label that a caption names has its own tile of the image.

For runs whose weights are random, so that no real detector could find anything: which tile a label has is a hash of the
label, and so known. The judge sees a label as much as its tile is brighter than the rest of the image.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from vision.settings import VisionSettings
from vision.types import Backend, Box, Image, Segment, Tag
from vision.words import mentions

TILES = 4  # a side
ENTRY = "[concept_atlas.vision]\ntiles = benchmarks.tiles:backend\n"


def install(folder: Path) -> None:
    """Offer the backend as an installed package would: by an entry point, found where ``folder`` is on the path."""
    info = folder / "concept_atlas_tiles-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: concept-atlas-tiles\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY)


def tile_of(label: str) -> tuple[int, int]:
    """(row, column) of the label's tile, each in [0, TILES)."""
    return divmod(hashlib.sha256(label.encode()).digest()[0] % TILES**2, TILES)


def tile_mask(label: str, height: int, width: int) -> np.ndarray:
    """bool [height, width]: the label's tile."""
    row, column = tile_of(label)
    mask = np.zeros((height, width), bool)
    mask[_part(row, height), _part(column, width)] = True
    return mask


def _part(number: int, length: int) -> slice:
    return slice(number * length // TILES, (number + 1) * length // TILES)


class Tiles:
    """Tagger, detector, segmenter and judge in one."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """The vocabulary's words that each caption names."""
        return [[Tag(word, 1.0) for word in self.labels if mentions(caption, word)] for caption in captions]

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """The tile of each tag."""
        return [
            [Box(tag.label, 1.0, tag.score, _box(tag.label, *image.shape[:2])) for tag in of_image]
            for image, of_image in zip(images, tags, strict=True)
        ]

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """Every pixel of the tile."""
        return [
            [
                Segment(box.label, tile_mask(box.label, *image.shape[:2]), box.tag_score, box.score, 1.0, box.xyxy)
                for box in of_image
            ]
            for image, of_image in zip(images, boxes, strict=True)
        ]

    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B, H, W]: brightness, in [0, 1]."""
        return np.stack([image.astype(np.float32).mean(-1) / 255 for image in images])

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B]: share of the image's brightness that lies in the label's tile."""
        maps = self.object_map(images, label)
        mask = tile_mask(label, *maps.shape[1:])
        return np.array([heat[mask].sum() / max(float(heat.sum()), 1e-6) for heat in maps], np.float32)


def _box(label: str, height: int, width: int) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(tile_mask(label, height, width))
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def backend(settings: VisionSettings) -> Backend:
    """What the entry point ``tiles`` of the group ``concept_atlas.vision`` makes."""
    tiles = Tiles(settings.vocabulary)
    return Backend("tiles", tiles, tiles, tiles, tiles)
