"""What passes between tagger, detector, segmenter and judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

Image = np.ndarray  # uint8 [H, W, 3]


@dataclass(frozen=True)
class Tag:
    """A word that may apply to an image; score in [0, 1]."""

    label: str
    score: float


def distinct(tags: list[Tag]) -> list[Tag]:
    """One tag a label, with its best score; best first, ties in the order of the labels."""
    best: dict[str, float] = {}
    for tag in tags:
        best[tag.label] = max(tag.score, best.get(tag.label, tag.score))
    return [Tag(label, score) for label, score in sorted(best.items(), key=lambda item: (-item[1], item[0]))]


@dataclass(frozen=True)
class Box:
    """A region that may hold a label; ``xyxy`` in pixels (x0, y0, x1, y1), ends exclusive."""

    label: str
    score: float
    tag_score: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Segment:
    """A labelled mask, bool [H, W], with the scores of the three steps that made it."""

    label: str
    mask: np.ndarray
    tag_score: float
    box_score: float
    mask_score: float
    xyxy: tuple[float, float, float, float]


class Tagger(Protocol):
    """What may be in each image."""

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Tags of each image, best first."""


class Detector(Protocol):
    """Where each tag is."""

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each image."""


class Segmenter(Protocol):
    """Which pixels of a box are the thing."""

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """Segments of each image."""


class Judge(Protocol):
    """Scores an edited image for a label or a style, apart from the segmenter's thresholds.

    One that knows a closed list of looks gives them as ``looks``: prompts that name one are left out of global edits.
    One that embeds words may have ``similarity(images, words)``, float32 [B]: the cosine of each image with their mean.
    One may have ``features(images)``, float32 [B, F]: how it sees each image, whatever it calls it. Frechet distances
    of edited images are taken in them; without, there are none.
    """

    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B, H, W] in [0, 1]: how much each pixel looks like the label."""

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B]: how much each image looks like the style."""


class Opinion(Protocol):
    """A second model's opinion of segments, independent of the one that made them."""

    def confirm(self, images: list[Image], segments: list[list[Segment]]) -> list[list[float]]:
        """IoU in [0, 1] of each segment's mask with the second model's own region of the segment's label."""


@dataclass(frozen=True)
class Backend:
    """The parts of one way to annotate images; ``opinion`` is None where no second model is set."""

    name: str
    tagger: Tagger
    detector: Detector
    segmenter: Segmenter
    judge: Judge
    opinion: Opinion | None = None
