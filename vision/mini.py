"""The scene world's backend: one learned network behind the tag, detect, segment and judge interfaces."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from vision.mini_network import PLAIN, SceneNetwork
from vision.settings import MiniSettings
from vision.types import Backend, Box, Image, Segment, Tag

SCATTERED = ("sky", "grass", "sand", "snow", "water", "road")  # stuff: one segment however many pieces


class MiniVision:
    """Tagger, detector, segmenter and judge over one ``SceneNetwork``."""

    def __init__(self, network: SceneNetwork, settings: MiniSettings) -> None:
        self.network, self.settings = network, settings

    @torch.inference_mode()
    def probabilities(self, images: list[Image]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities float32 [B, C, 64, 64] and style probabilities [B, S]."""
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        judged = self.network(x)
        return judged.classes.softmax(1).numpy(), judged.styles.softmax(1).numpy()

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Classes that own enough pixels, and the style if one is likely."""
        found = []
        for classes, styles in zip(*self.probabilities(images), strict=True):
            tags = [Tag(label, self._confidence(classes, label)) for label in self._present(classes)]
            style = int(styles.argmax())
            if self.network.styles[style] != PLAIN and styles[style] >= self.settings.style_score:
                tags.append(Tag(self.network.styles[style], float(styles[style])))
            found.append(sorted(tags, key=lambda tag: (-tag.score, tag.label)))
        return found

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each tag's connected pieces; stuff and styles are one box."""
        classes = self.probabilities(images)[0]
        return [
            [box for tag in of_image for box in self._boxes(p, tag)] for p, of_image in zip(classes, tags, strict=True)
        ]

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """The box's pixels that belong to its class; a style is the whole image."""
        classes = self.probabilities(images)[0]
        found = []
        for p, of_image in zip(classes, boxes, strict=True):
            segments = [self._segment(p, box) for box in of_image]
            kept = [s for s in segments if s.mask_score >= self.settings.min_score]
            found.append(sorted(kept, key=lambda s: (s.label, s.xyxy)))
        return found

    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """Probability of the label at each pixel, float32 [B, 64, 64]."""
        return self.probabilities(images)[0][:, self.network.labels.index(label)]

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """Probability of the style, float32 [B]."""
        return self.probabilities(images)[1][:, self.network.styles.index(label)]

    def _present(self, classes: np.ndarray) -> list[str]:
        owner = classes.argmax(0)
        shares = np.bincount(owner.ravel(), minlength=len(self.network.labels)) / owner.size
        return [label for label, s in zip(self.network.labels, shares, strict=True) if s >= self.settings.min_area]

    def _mask(self, classes: np.ndarray, label: str) -> np.ndarray:
        if label in self.network.styles:
            return np.ones(classes.shape[1:], bool)
        return classes.argmax(0) == self.network.labels.index(label)

    def _confidence(self, classes: np.ndarray, label: str) -> float:
        return float(classes[self.network.labels.index(label)][self._mask(classes, label)].mean())

    def _boxes(self, classes: np.ndarray, tag: Tag) -> list[Box]:
        mask = self._mask(classes, tag.label)
        whole = tag.label in SCATTERED or tag.label in self.network.styles
        pieces, _ = (mask.astype(int), 1) if whole else ndimage.label(mask)
        boxes = []
        for number, (rows, columns) in enumerate(ndimage.find_objects(pieces), start=1):
            if (pieces == number).mean() >= self.settings.min_area:
                xyxy = (float(columns.start), float(rows.start), float(columns.stop), float(rows.stop))
                boxes.append(Box(tag.label, tag.score, tag.score, xyxy))
        return boxes

    def _segment(self, classes: np.ndarray, box: Box) -> Segment:
        x0, y0, x1, y1 = (int(v) for v in box.xyxy)
        inside = np.zeros(classes.shape[1:], bool)
        inside[y0:y1, x0:x1] = True
        mask = self._mask(classes, box.label) & inside
        if box.label in self.network.styles:
            score = box.score
        else:
            score = float(classes[self.network.labels.index(box.label)][mask].mean())
        return Segment(box.label, mask, box.tag_score, box.score, score, box.xyxy)


def load_mini(settings: MiniSettings) -> Backend:
    """The mini backend. Raises ``VisionError`` if its weights are missing or damaged."""
    vision = MiniVision(SceneNetwork.load(settings.path), settings)
    return Backend("mini", vision, vision, vision, vision)
