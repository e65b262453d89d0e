"""The scene world's backend: one learned network behind the tag, detect, segment and judge interfaces."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from vision.errors import VisionError
from vision.images import batches, check_images
from vision.mini_config import PLAIN
from vision.mini_network import SceneNetwork
from vision.nms import label_unions, mask_iou
from vision.settings import MiniSettings
from vision.types import Backend, Box, Image, Segment, Tag

SIDE = 64  # of the images the scene network was trained on
SCATTERED = ("sky", "grass", "sand", "snow", "water", "road")  # stuff: one segment however many pieces


class MiniVision:
    """Tagger, detector, segmenter and judge over one ``SceneNetwork``."""

    def __init__(self, network: SceneNetwork, settings: MiniSettings) -> None:
        self.network, self.settings = network, settings
        self.looks = tuple(style for style in network.styles if style != PLAIN)
        self._name = f"vision.mini.path {settings.path!r}"

    def probabilities(self, images: list[Image]) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities float32 [B, C, 64, 64] and style probabilities [B, S]."""
        return scene_probabilities(self.network, images, self.settings.batch_size, self._name)

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Classes that own enough pixels, and the style if one is likely."""
        tagged = []
        for classes, styles in zip(*self.probabilities(images), strict=True):
            tags = [Tag(label, self._confidence(classes, label)) for label in self._present(classes)]
            style = int(styles.argmax())
            if self.network.styles[style] != PLAIN and styles[style] >= self.settings.style_score:
                tags.append(Tag(self.network.styles[style], float(styles[style])))
            tagged.append(sorted(tags, key=lambda tag: (-tag.score, tag.label)))
        return tagged

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each tag's connected pieces; stuff and styles are one box."""
        classes = self.probabilities(images)[0]
        return [
            [box for tag in of_image for box in self._boxes(p, tag)] for p, of_image in zip(classes, tags, strict=True)
        ]

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """The box's pixels that belong to its class; a style is the whole image. Empty masks are dropped."""
        classes = self.probabilities(images)[0]
        segmented = []
        for p, of_image in zip(classes, boxes, strict=True):
            segments = [s for s in (self._segment(p, box) for box in of_image) if s]
            kept = [s for s in segments if s.mask_score >= self.settings.min_score]
            segmented.append(sorted(kept, key=lambda s: (s.label, s.xyxy)))
        return segmented

    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """Probability of the label at each pixel, float32 [B, 64, 64]."""
        return self.probabilities(images)[0][:, _index(self.network.labels, label)]

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """Probability of the style, float32 [B]."""
        return self.probabilities(images)[1][:, _index(self.network.styles, label)]

    def features(self, images: list[Image]) -> np.ndarray:
        """What the network sees in each image, whatever it calls it: float32 [B, F], means over the image's pixels."""
        _check_size(images)
        found = np.empty((len(images), self.network.body.summary + self.network.width), np.float32)
        with torch.inference_mode():
            for rows in batches(range(len(images)), self.settings.batch_size):
                found[rows[0] : rows[-1] + 1] = self.network.features(_pixels([images[row] for row in rows])).numpy()
        _refuse_nan(self._name, found)
        return found

    def _present(self, classes: np.ndarray) -> list[str]:
        owner = classes.argmax(0)
        shares = np.bincount(owner.ravel(), minlength=len(self.network.labels)) / owner.size
        return [label for label, s in zip(self.network.labels, shares, strict=True) if s >= self.settings.min_area]

    def _mask(self, classes: np.ndarray, label: str) -> np.ndarray:
        if label in self.network.styles:
            return np.ones(classes.shape[1:], bool)
        return classes.argmax(0) == _index(self.network.labels, label)

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

    def _segment(self, classes: np.ndarray, box: Box) -> Segment | None:
        x0, y0, x1, y1 = (int(v) for v in box.xyxy)
        inside = np.zeros(classes.shape[1:], bool)
        inside[y0:y1, x0:x1] = True
        mask = self._mask(classes, box.label) & inside
        if not mask.any():
            return None
        if box.label in self.network.styles:
            score = box.score
        else:
            score = float(classes[self.network.labels.index(box.label)][mask].mean())
        return Segment(box.label, mask, box.tag_score, box.score, score, box.xyxy)


class SecondNetwork:
    """The opinion of a network with another body: its own class regions, and its own idea of the style."""

    def __init__(self, network: SceneNetwork, settings: MiniSettings) -> None:
        self.network, self.settings = network, settings

    def confirm(self, images: list[Image], segments: list[list[Segment]]) -> list[list[float]]:
        """IoU of all that the image has of a segment's label with the pixels that this network gives more than 0.5.

        A style, which is the whole image, scores 1 if this network finds the same style, else 0.
        """
        classes, styles = scene_probabilities(
            self.network, images, self.settings.batch_size, f"vision.mini.second_path {self.settings.second_path!r}"
        )
        confirmed = []
        for of_image, p, style in zip(segments, classes, styles, strict=True):
            look = self.network.styles[int(style.argmax())]
            scores = {label: self._score(label, mask, p, look) for label, mask in label_unions(of_image).items()}
            confirmed.append([scores[segment.label] for segment in of_image])
        return confirmed

    def _score(self, label: str, mask: np.ndarray, classes: np.ndarray, look: str) -> float:
        if label in self.network.styles:
            return float(label == look)
        return mask_iou(mask, classes[_index(self.network.labels, label)] > 0.5)


@torch.inference_mode()
def scene_probabilities(
    network: SceneNetwork, images: list[Image], batch_size: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities float32 [B, C, 64, 64] and style probabilities [B, S], ``batch_size`` images at a time.

    Raises ``VisionError`` if an image is not uint8 [64, 64, 3] or the network gives NaN.
    """
    _check_size(images)
    classes = np.empty((len(images), len(network.labels), SIDE, SIDE), np.float32)
    styles = np.empty((len(images), len(network.styles)), np.float32)
    for rows in batches(range(len(images)), batch_size):
        judged = network(_pixels([images[row] for row in rows]))
        here = slice(rows[0], rows[-1] + 1)
        classes[here], styles[here] = judged.classes.softmax(1).numpy(), judged.styles.softmax(1).numpy()
    _refuse_nan(name, classes, styles)
    return classes, styles


def _refuse_nan(name: str, *numbers: np.ndarray) -> None:
    if any(np.isnan(array).any() for array in numbers):
        raise VisionError(f"{name} gives NaN for what it sees: its weights are damaged, fetch them anew")


def _check_size(images: list[Image]) -> None:
    check_images(images)
    for number, image in enumerate(images):
        if image.shape != (SIDE, SIDE, 3):
            raise VisionError(f"image {number} is {list(image.shape)}: the mini backend reads [{SIDE}, {SIDE}, 3] only")


def _pixels(images: list[Image]) -> torch.Tensor:
    """float32 [B, 3, 64, 64] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def load_mini(settings: MiniSettings) -> Backend:
    """The mini backend. Raises ``VisionError`` if its weights are missing or damaged, or the two networks differ."""
    vision = MiniVision(SceneNetwork.load(settings.path), settings)
    return Backend("mini", vision, vision, vision, vision, _second(vision.network, settings))


def _second(first: SceneNetwork, settings: MiniSettings) -> SecondNetwork | None:
    if settings.second_path is None:
        return None
    second = SceneNetwork.load(settings.second_path)
    unknown = sorted({*first.labels, *first.styles} - {*second.labels, *second.styles})
    if unknown:
        raise VisionError(
            f"vision.mini.second_path {settings.second_path!r} does not know {', '.join(unknown)}, which "
            "vision.mini.path labels: give a network trained on the same world"
        )
    return SecondNetwork(second, settings)


def _index(names: tuple[str, ...], label: str) -> int:
    if label not in names:
        raise VisionError(f"the mini backend does not know {label!r}: it knows {', '.join(names)}")
    return names.index(label)
