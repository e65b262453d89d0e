"""Where the tagged things are: Grounding DINO, MM-Grounding-DINO and OWLv2, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from vision.errors import VisionError
from vision.images import batches, check_images, grouped
from vision.loading import Loaded, load, numbers, prepared, refuse_long, running
from vision.nms import suppress
from vision.settings import TransformersSettings
from vision.types import Box, Detector, Image, Tag

DETECTORS = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
    "owlv2": "Owlv2ForObjectDetection",
}
MIN_SIDE = 128  # of Grounding DINO's input: below, its coarsest level has too few values for its group norm
DELIMITERS = str.maketrans(".?", "  ")  # end a phrase of its prompt, so a label must not hold them


class CheckingDetector(Detector, Protocol):
    """A detector that can tell beforehand which labels it cannot read."""

    loaded: Loaded

    def check(self, labels: Sequence[str]) -> None:
        """Raise ``VisionError`` for the first label that the text encoder cannot take whole."""


def load_detector(settings: TransformersSettings) -> CheckingDetector:
    """The detector that ``settings.detector`` holds. Raises ``VisionError``."""
    loaded = load(settings, "detector", DETECTORS, tokenizer=True)
    return Owlv2(loaded, settings) if loaded.model_type == "owlv2" else GroundingDino(loaded, settings)


class GroundingDino:
    """Boxes of tags, scored on each tag's own token span.

    The library's phrase decoding merges neighbouring tags and splits words; a score is instead the maximum of
    sigmoid(logits) over exactly the tokens of the tag in "a. b. c.". Tags that do not fit one prompt go in several.
    """

    def __init__(self, loaded: Loaded, settings: TransformersSettings) -> None:
        self.loaded, self.settings = loaded, settings
        self.text_limit = int(loaded.model.config.max_text_len)
        tokenizer = loaded.tokenizer
        self._start, self._end, self._dot = tokenizer.convert_tokens_to_ids(
            [tokenizer.cls_token, tokenizer.sep_token, "."]
        )
        self._known: dict[str, list[int]] = {}

    def check(self, labels: Sequence[str]) -> None:
        """Raise ``VisionError`` for a label of more tokens than a prompt, or of none that the tokenizer knows."""
        for label in labels:
            self.tokens(label)

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each image: thresholded, class-aware NMS, whole-image boxes dropped. Raises ``VisionError``."""
        check_images(images)
        jobs = [(n, chunk) for n, of_image in enumerate(tags) for chunk in self.chunks(of_image)]
        per_image: list[list[Box]] = [[] for _ in images]
        # Images of one shape only: in a mixed batch the padding would leak through the backbone's windows.
        for alike in grouped(jobs, lambda job: images[job[0]].shape):
            for batch in batches(alike, self.settings.batch_size):
                given = self._run([images[n] for n, _ in batch], [chunk for _, chunk in batch])
                for (n, _), boxes in zip(batch, given, strict=True):
                    per_image[n] += boxes
        return [suppress(boxes, self.settings.nms_iou) for boxes in per_image]

    def tokens(self, label: str) -> list[int]:
        """Token ids of the label inside a prompt. Raises ``VisionError`` as ``check`` does."""
        if label not in self._known:
            self._known[label] = self._tokenised(label)
        return self._known[label]

    def chunks(self, tags: Sequence[Tag]) -> list[list[Tag]]:
        """Tags in runs whose prompt stays within the text encoder's limit."""
        chunks: list[list[Tag]] = []
        length = self.text_limit
        for tag in tags:
            added = len(self.tokens(tag.label)) + 1
            if length + added > self.text_limit:
                chunks.append([])
                length = 2  # start and end
            chunks[-1].append(tag)
            length += added
        return chunks

    def prompt(self, tags: Sequence[Tag]) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids of "a. b. c." and each tag's [first, last) positions among them."""
        ids, spans = [self._start], []
        for tag in tags:
            spans.append((len(ids), len(ids) + len(self.tokens(tag.label))))
            ids += [*self.tokens(tag.label), self._dot]
        return [*ids, self._end], spans

    def _tokenised(self, label: str) -> list[int]:
        tokenizer = self.loaded.tokenizer
        ids = tokenizer(label.translate(DELIMITERS), add_special_tokens=False).input_ids
        if len(ids) + 3 > self.text_limit:
            raise VisionError(
                f"label {label[:60]!r} is {len(ids)} tokens to {self.loaded.name}, which reads at most "
                f"{self.text_limit - 3}: shorten it"
            )
        if all(i == tokenizer.unk_token_id for i in ids):
            raise VisionError(
                f"label {label!r} has no token that {self.loaded.name} knows, so it cannot be looked for: "
                "translate it to the detector's language or drop it"
            )
        return list(ids)

    def _run(self, images: list[Image], chunks: list[list[Tag]]) -> list[list[Box]]:
        prompts = [self.prompt(chunk) for chunk in chunks]
        device = self.settings.device
        inputs = {**self._text([ids for ids, _ in prompts]), **self._pixels(images)}
        with running(self.settings):
            output = self.loaded.model(**{name: value.to(device) for name, value in inputs.items()})
        scores_BQT = numbers(output.logits.float().sigmoid(), self.loaded.name, "scores of boxes")
        boxes_BQ4 = numbers(output.pred_boxes, self.loaded.name, "boxes")
        per_image = []
        for image, chunk, (_, spans), scores, boxes in zip(images, chunks, prompts, scores_BQT, boxes_BQ4, strict=True):
            best = np.stack([scores[:, first:last].max(1) for first, last in spans], 1)
            height, width = image.shape[:2]
            per_image.append(boxes_above(best, boxes, (height, width), image, chunk, self.settings))
        return per_image

    def _text(self, prompts: list[list[int]]) -> dict[str, torch.Tensor]:
        """Prompts padded at the end to one length; padding is masked, so it changes nothing."""
        length = max(map(len, prompts))
        pad = self.loaded.tokenizer.pad_token_id
        ids = torch.tensor([[*ids, *[pad] * (length - len(ids))] for ids in prompts])
        mask = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids in prompts])
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}

    def _pixels(self, images: list[Image]) -> dict[str, torch.Tensor]:
        inputs = prepared(self.loaded, images)
        height, width = inputs["pixel_values"].shape[-2:]
        padding = (0, max(0, MIN_SIDE - width), 0, max(0, MIN_SIDE - height))
        return {name: torch.nn.functional.pad(inputs[name], padding) for name in ("pixel_values", "pixel_mask")}


class Owlv2:
    """Boxes of text queries. Image and text are encoded apart, so each label's query is computed once and kept."""

    def __init__(self, loaded: Loaded, settings: TransformersSettings) -> None:
        self.loaded, self.settings = loaded, settings
        self._queries: dict[str, torch.Tensor] = {}

    def check(self, labels: Sequence[str]) -> None:
        """Raise ``VisionError`` for a label whose sentence is longer than the text encoder reads."""
        limit = self.loaded.model.config.text_config.max_position_embeddings
        refuse_long(self.loaded, {label: self.settings.prompt_template.format(label) for label in labels}, limit)

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each image: thresholded, class-aware NMS, whole-image boxes dropped. Raises ``VisionError``."""
        check_images(images)
        self._learn(sorted({tag.label for of_image in tags for tag in of_image} - set(self._queries)))
        per_image: list[list[Box]] = [[] for _ in images]
        for batch in batches([n for n, of_image in enumerate(tags) if of_image], self.settings.batch_size):
            given = self._run([images[n] for n in batch], [tags[n] for n in batch])
            for n, boxes in zip(batch, given, strict=True):
                per_image[n] = suppress(boxes, self.settings.nms_iou)
        return per_image

    def _learn(self, labels: list[str]) -> None:
        if not labels:
            return
        self.check(labels)
        texts = [self.settings.prompt_template.format(label) for label in labels]
        tokens = self.loaded.tokenizer(texts, padding=True, return_tensors="pt")
        given = {name: tokens[name].to(self.settings.device) for name in ("input_ids", "attention_mask")}
        with running(self.settings):
            features = self.loaded.model.owlv2.get_text_features(**given).pooler_output.float()
            unit = features / features.norm(dim=-1, keepdim=True)
        self._queries.update(zip(labels, unit, strict=True))

    def _run(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        model = self.loaded.model
        pixels = prepared(self.loaded, images)["pixel_values"]
        with running(self.settings):
            maps = model.image_embedder(pixel_values=pixels.to(self.settings.device))[0].float()
        with running(self.settings, exact=True):  # a box's corner in bfloat16 would be off by 4 pixels of 1024
            features = maps.flatten(1, 2)  # [B, patches, channels]
            boxes_BQ4 = numbers(model.box_predictor(features, maps), self.loaded.name, "boxes")
            logits = [
                model.class_predictor(one[None], self._of_tags(of_image))[0][0]
                for one, of_image in zip(features, tags, strict=True)
            ]
        per_image = []
        for image, of_image, of_labels, boxes in zip(images, tags, logits, boxes_BQ4, strict=True):
            scores = numbers(of_labels.float().sigmoid(), self.loaded.name, "scores of boxes")
            side = max(image.shape[:2])  # the processor pads to a square at the bottom and the right
            per_image.append(boxes_above(scores, boxes, (side, side), image, of_image, self.settings))
        return per_image

    def _of_tags(self, tags: list[Tag]) -> torch.Tensor:
        return torch.stack([self._queries[tag.label] for tag in tags])[None]


def boxes_above(
    scores: np.ndarray,
    boxes: np.ndarray,
    frame: tuple[int, int],
    image: Image,
    tags: list[Tag],
    settings: TransformersSettings,
) -> list[Box]:
    """Boxes whose score reaches ``box_score``, clipped to the image.

    ``scores`` [queries, tags]; ``boxes`` [queries, 4] centre x, centre y, width, height as shares of ``frame``
    (height, width in pixels). Boxes without area and boxes over ``max_box`` of the image are dropped.
    """
    height, width = image.shape[:2]
    xyxy = _corners(boxes, frame, (height, width))
    share = (xyxy[:, 2:] - xyxy[:, :2]).prod(1) / (height * width)
    usable = (share > 0) & (share <= settings.max_box)
    return [
        Box(tag.label, float(scores[query, column]), tag.score, (x0, y0, x1, y1))
        for column, tag in enumerate(tags)
        for query in np.flatnonzero((scores[:, column] >= settings.box_score) & usable)
        for x0, y0, x1, y1 in [xyxy[query].tolist()]
    ]


def _corners(boxes: np.ndarray, frame: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    centre, half = boxes[:, :2].astype(float), boxes[:, 2:].astype(float) / 2
    scale, limit = np.array([frame[1], frame[0]]), np.array([size[1], size[0]])
    low, high = (centre - half) * scale, (centre + half) * scale
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], 1)
