"""Which pixels of a box are the thing: SAM and SAM 2, in batches of images and of boxes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage

from vision.images import batches, check_images
from vision.loading import Loaded, load, numbers, prepared, running
from vision.nms import merge_masks
from vision.settings import TransformersSettings
from vision.types import Box, Image, Segment

# Hub folders of SAM 2 hold the video model, whose image part is what Sam2Model loads.
SEGMENTERS = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
NO_BOX = (0.0, 0.0, 1.0, 1.0)  # pads the prompts of a batch to one count; its masks are thrown away
# With fewer prompts matrix products take another kernel, whose last bits differ: an image's masks would depend on how
# many boxes its neighbours in the batch have.
LEAST_PROMPTS = 4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load_segmenter(settings: TransformersSettings) -> BoxSegmenter:
    """The segmenter that ``settings.segmenter`` holds. Raises ``VisionError``."""
    # SAM 2's own processor needs torchvision: its pixels are prepared here.
    loaded = load(settings, "segmenter", SEGMENTERS, processor_of=("sam",))
    return Sam(loaded, settings) if loaded.model_type == "sam" else Sam2(loaded, settings)


class BoxSegmenter(ABC):
    """Masks of boxes. An image is encoded once, its boxes are decoded ``boxes_at_once``.

    Boxes of a batch of images are padded to one count, since ragged prompts raise; padding does not change the
    masks of the real boxes.
    """

    def __init__(self, loaded: Loaded, settings: TransformersSettings) -> None:
        self.loaded, self.settings = loaded, settings

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """Segments above the thresholds, near-identical ones of one label merged. Raises ``VisionError``."""
        check_images(images)
        merged: list[list[Segment]] = [[] for _ in images]
        for batch in batches([n for n, of_image in enumerate(boxes) if of_image], self.settings.batch_size):
            given = self._of_batch([images[n] for n in batch], [boxes[n] for n in batch])
            for n, segments in zip(batch, given, strict=True):
                merged[n] = merge_masks(segments, self.settings.merge_iou)
        return merged

    def _of_batch(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        with running(self.settings):
            embeddings = self.encode(images)
        per_image: list[list[Segment]] = [[] for _ in images]
        step = self.settings.boxes_at_once
        for start in range(0, max(map(len, boxes)), step):
            rows = [n for n, of_image in enumerate(boxes) if len(of_image) > start]
            parts = [boxes[n][start : start + step] for n in rows]
            logits, scores = self.decode(self.rows_of(embeddings, rows), [images[n] for n in rows], parts)
            for i, n in enumerate(rows):
                masks = self.masks(logits[i, : len(parts[i])], images[n])
                per_image[n] += self._kept(parts[i], masks, scores[i])
        return per_image

    def decode(self, embeddings: Any, images: list[Image], boxes: list[list[Box]]) -> tuple[torch.Tensor, np.ndarray]:
        """Mask logits float32 [B, N, h, w] on the CPU and predicted IoUs [B, N], N >= the largest count of boxes."""
        count = max(LEAST_PROMPTS, *map(len, boxes))
        prompts = [
            [self.scaled(xyxy, image) for xyxy in [*(b.xyxy for b in of_image), *[NO_BOX] * (count - len(of_image))]]
            for image, of_image in zip(images, boxes, strict=True)
        ]
        with running(self.settings, exact=True):  # a box's corner in bfloat16 would be off by 4 pixels of 1024
            output = self.loaded.model(
                image_embeddings=embeddings,
                input_boxes=torch.tensor(prompts, dtype=torch.float32, device=self.settings.device),
                multimask_output=False,
            )
        scores = numbers(output.iou_scores[:, :, 0], self.loaded.name, "scores of masks")
        return torch.from_numpy(numbers(output.pred_masks[:, :, 0], self.loaded.name, "masks")), scores

    def _kept(self, boxes: list[Box], masks: np.ndarray, scores: np.ndarray) -> list[Segment]:
        return [
            Segment(box.label, mask, box.tag_score, box.score, float(score), box.xyxy)
            for box, mask, score in zip(boxes, masks, scores[: len(boxes)], strict=True)
            if score >= self.settings.mask_score and mask.any() and mask.mean() >= self.settings.min_area
        ]

    @abstractmethod
    def encode(self, images: list[Image]) -> Any:
        """Embeddings of a batch of images."""

    @abstractmethod
    def rows_of(self, embeddings: Any, rows: list[int]) -> Any:
        """The embeddings of some images of the batch."""

    @abstractmethod
    def scaled(self, xyxy: Sequence[float], image: Image) -> list[float]:
        """A box of the image in pixels of the model's input."""

    @abstractmethod
    def masks(self, logits: torch.Tensor, image: Image) -> np.ndarray:
        """bool [N, H, W] at the image's size from logits [N, h, w]."""


class Sam(BoxSegmenter):
    """SAM: the image's longer side is resized to the model's input, the rest is padding."""

    def encode(self, images: list[Image]) -> torch.Tensor:
        """Embeddings [B, C, h, w]."""
        pixels = prepared(self.loaded, images)["pixel_values"]
        return self.loaded.model.get_image_embeddings(pixels.to(self.settings.device))

    def rows_of(self, embeddings: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """Some rows of the batch."""
        return embeddings[rows].float()

    def scaled(self, xyxy: Sequence[float], image: Image) -> list[float]:
        """The two sides are rounded to whole pixels apart, so their scales differ a little."""
        height, width = image.shape[:2]
        rows, columns = self._resized(image)
        scale = (columns / width, rows / height) * 2
        return [value * s for value, s in zip(xyxy, scale, strict=True)]

    def masks(self, logits: torch.Tensor, image: Image) -> np.ndarray:
        """Upsampled to the padded input, cut to the image's part, resized to the image, > 0."""
        masks = self.loaded.processor.post_process_masks([logits[None]], [image.shape[:2]], [self._resized(image)])
        return masks[0][0].numpy()

    def _resized(self, image: Image) -> tuple[int, int]:
        """Rows and columns of the image inside the model's input."""
        height, width = image.shape[:2]
        scale = self.loaded.processor.size["longest_edge"] / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)


class Sam2(BoxSegmenter):
    """SAM 2: the image is squeezed to the model's square input, so boxes scale in x and y apart."""

    def encode(self, images: list[Image]) -> list[torch.Tensor]:
        """Embeddings [B, C, h, w], finest level first."""
        return self.loaded.model.get_image_embeddings(self._pixels(images).to(self.settings.device))

    def rows_of(self, embeddings: list[torch.Tensor], rows: list[int]) -> list[torch.Tensor]:
        """Some rows of the batch, at each level."""
        return [level[rows].float() for level in embeddings]

    def scaled(self, xyxy: Sequence[float], image: Image) -> list[float]:
        """x by the width's scale, y by the height's."""
        height, width = image.shape[:2]
        scale = (self._side / width, self._side / height) * 2
        return [value * s for value, s in zip(xyxy, scale, strict=True)]

    def masks(self, logits: torch.Tensor, image: Image) -> np.ndarray:
        """Bilinear to the image's size, > 0."""
        size = image.shape[:2]
        wide = torch.nn.functional.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)
        return (wide[0] > 0).numpy()

    @property
    def _side(self) -> int:
        size = self.loaded.model.config.prompt_encoder_config.image_size
        return int(size if isinstance(size, int) else size[0])

    def _pixels(self, images: list[Image]) -> torch.Tensor:
        side = (self._side, self._side)
        squares = [PilImage.fromarray(i).resize(side, PilImage.Resampling.BILINEAR) for i in images]
        pixels = torch.from_numpy(np.stack([np.asarray(s) for s in squares])).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return (pixels - mean) / std
