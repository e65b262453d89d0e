"""Grounding DINO boxes and SAM masks from transformers, with taggers and a judge of the same kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image as PilImage
from transformers import (
    AutoTokenizer,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPSegForImageSegmentation,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    SamImageProcessorPil,
    SamModel,
)

from vision.errors import VisionError
from vision.nms import merge_masks, suppress
from vision.settings import TransformersSettings, VisionSettings
from vision.types import Backend, Box, Image, Segment, Tag
from vision.words import mentions

MAX_TEXT_TOKENS = 256  # Grounding DINO raises beyond this: tags are sent in chunks


def _load(kind: Any, path: str | None, field: str, **given: Any) -> Any:
    if not path:
        raise VisionError(f"vision.transformers.{field} is empty, and this step needs it: give a folder or hub id")
    try:
        return kind.from_pretrained(path, **given)
    except Exception as error:  # the library raises a dozen kinds; all mean the same to the user
        reason = " ".join(str(error).split())[:160]
        raise VisionError(
            f"vision.transformers.{field} {path!r} cannot be loaded ({reason}): "
            "give a whole folder or a reachable hub id"
        ) from error


class CaptionTagger:
    """Vocabulary words that the image's own caption names, plurals included; every score is 1."""

    def __init__(self, vocabulary: tuple[str, ...]) -> None:
        self.vocabulary = vocabulary

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Tags in the order of the vocabulary."""
        return [[Tag(word, 1.0) for word in self.vocabulary if mentions(caption, word)] for caption in captions]


class ClipScorer:
    """CLIP similarities of images with texts."""

    def __init__(self, path: str | None, field: str, device: str) -> None:
        self.model = _load(CLIPModel, path, field, use_safetensors=True).eval().to(device)
        self.tokenizer = _load(AutoTokenizer, path, field)
        self.processor = _load(CLIPImageProcessorPil, path, field)
        self.device = device

    @torch.inference_mode()
    def logits(self, images: list[Image], texts: list[str]) -> np.ndarray:
        """float32 [B, texts]: scaled cosine similarities."""
        pixels = self.processor(images=[PilImage.fromarray(i) for i in images], return_tensors="pt")
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        output = self.model(
            input_ids=tokens["input_ids"].to(self.device),
            attention_mask=tokens["attention_mask"].to(self.device),
            pixel_values=pixels["pixel_values"].to(self.device),
        )
        return output.logits_per_image.float().cpu().numpy()


class ClipTagger:
    """Zero-shot tags over the vocabulary: softmax of 'a photo of a WORD'."""

    def __init__(self, settings: TransformersSettings, vocabulary: tuple[str, ...]) -> None:
        self.scorer = ClipScorer(settings.clip, "clip", settings.device)
        self.vocabulary, self.threshold = vocabulary, settings.tag_score

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Tags above the threshold, best first."""
        logits = self.scorer.logits(images, [f"a photo of a {word}" for word in self.vocabulary])
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        return [
            sorted(
                (Tag(w, float(s)) for w, s in zip(self.vocabulary, row, strict=True) if s >= self.threshold),
                key=lambda tag: (-tag.score, tag.label),
            )
            for row in scores
        ]


class GroundingDino:
    """Boxes of tags, scored on each tag's own token span.

    The library's phrase decoding merges neighbouring tags and splits words; a score is instead the maximum of
    sigmoid(logits) over exactly the tokens of the tag in "a. b. c.".
    """

    def __init__(self, settings: TransformersSettings) -> None:
        self.settings = settings
        path = settings.detector
        self.model = _load(GroundingDinoForObjectDetection, path, "detector", use_safetensors=True)
        self.model.eval().to(settings.device)
        self.processor = _load(GroundingDinoImageProcessorPil, path, "detector")
        self.tokenizer = _load(AutoTokenizer, path, "detector")

    def detect(self, images: list[Image], tags: list[list[Tag]]) -> list[list[Box]]:
        """Boxes of each image: thresholded, class-aware NMS, whole-image boxes dropped."""
        return [self._detect_one(image, of_image) for image, of_image in zip(images, tags, strict=True)]

    def _detect_one(self, image: Image, tags: list[Tag]) -> list[Box]:
        found: list[Box] = []
        for chunk in self._chunks(tags):
            found += self._run(image, chunk)
        kept = [box for box in found if _share(box.xyxy, image.shape) <= self.settings.max_box]
        return suppress(kept, self.settings.nms_iou)

    def _chunks(self, tags: list[Tag]) -> list[list[Tag]]:
        """Tags in runs whose prompt stays within the text encoder's limit."""
        chunks: list[list[Tag]] = []
        length = MAX_TEXT_TOKENS
        for tag in tags:
            tokens = len(self.tokenizer(f"{tag.label}.", add_special_tokens=False).input_ids)
            if length + tokens > MAX_TEXT_TOKENS - 2:
                chunks.append([])
                length = 0
            chunks[-1].append(tag)
            length += tokens
        return chunks

    @torch.inference_mode()
    def _run(self, image: Image, tags: list[Tag]) -> list[Box]:
        text, spans = self._prompt(tags)
        pixels = self.processor(images=PilImage.fromarray(image), return_tensors="pt")
        device = self.settings.device
        output = self.model(
            pixel_values=pixels["pixel_values"].to(device),
            pixel_mask=pixels["pixel_mask"].to(device),
            **{name: value.to(device) for name, value in text.items()},
        )
        scores = output.logits[0].float().sigmoid().cpu().numpy()  # [queries, tokens]
        centre_boxes = output.pred_boxes[0].float().cpu().numpy()  # [queries, 4] cx, cy, w, h in [0, 1]
        height, width = image.shape[:2]
        found = []
        for tag, (first, last) in zip(tags, spans, strict=True):
            best = scores[:, first:last].max(1)
            for query in np.flatnonzero(best >= self.settings.box_score):
                xyxy = _to_xyxy(centre_boxes[query], height, width)
                found.append(Box(tag.label, float(best[query]), tag.score, xyxy))
        return found

    def _prompt(self, tags: list[Tag]) -> tuple[dict[str, torch.Tensor], list[tuple[int, int]]]:
        """Tokens of "a. b. c." and each tag's [first, last) token positions."""
        text, ends, start = "", [], 0
        for tag in tags:
            ends.append((start, start + len(tag.label)))
            text += f"{tag.label}. "
            start = len(text)
        encoded = self.tokenizer(text.strip(), return_offsets_mapping=True, return_tensors="pt")
        offsets = encoded.pop("offset_mapping")[0].tolist()
        spans = []
        for first, last in ends:
            inside = [i for i, (a, b) in enumerate(offsets) if b > a and a >= first and b <= last]
            spans.append((inside[0], inside[-1] + 1))
        return dict(encoded), spans


class Sam:
    """Masks of boxes. Boxes are padded to one count: ragged prompts raise, and padding is exact for the rest."""

    def __init__(self, settings: TransformersSettings) -> None:
        self.settings = settings
        self.model = _load(SamModel, settings.segmenter, "segmenter", use_safetensors=True)
        self.model.eval().to(settings.device)
        self.processor = _load(SamImageProcessorPil, settings.segmenter, "segmenter")

    def segment(self, images: list[Image], boxes: list[list[Box]]) -> list[list[Segment]]:
        """Segments above the thresholds, near-identical ones of one label merged."""
        return [self._segment_one(image, b) if b else [] for image, b in zip(images, boxes, strict=True)]

    @torch.inference_mode()
    def _segment_one(self, image: Image, boxes: list[Box]) -> list[Segment]:
        inputs = self.processor(images=PilImage.fromarray(image), return_tensors="pt")
        resized, original = inputs["reshaped_input_sizes"], inputs["original_sizes"]
        scale = float(resized[0].max()) / float(original[0].max())
        prompt = torch.tensor([[box.xyxy for box in boxes]], dtype=torch.float32) * scale
        output = self.model(
            pixel_values=inputs["pixel_values"].to(self.settings.device),
            input_boxes=prompt.to(self.settings.device),
            multimask_output=False,
        )
        masks = self.processor.post_process_masks(output.pred_masks.cpu(), original, resized)[0][:, 0].numpy()
        scores = output.iou_scores[0, :, 0].float().cpu().numpy()
        segments = [
            Segment(box.label, mask, box.tag_score, box.score, float(score), box.xyxy)
            for box, mask, score in zip(boxes, masks, scores, strict=True)
            if score >= self.settings.mask_score and mask.mean() >= self.settings.min_area
        ]
        return merge_masks(segments, self.settings.merge_iou)


class ClipJudge:
    """CLIPSeg says where an object is, CLIP how much of a style an image has."""

    def __init__(self, settings: TransformersSettings) -> None:
        self.settings = settings
        self._clipseg: Any = None
        self._clip: ClipScorer | None = None

    @torch.inference_mode()
    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B, H, W]: CLIPSeg's probability, resized to the image."""
        if self._clipseg is None:
            path, field = self.settings.judge_clipseg, "judge_clipseg"
            model = _load(CLIPSegForImageSegmentation, path, field, use_safetensors=True).eval()
            processor = _load(CLIPImageProcessorPil, path, field)
            self._clipseg = model.to(self.settings.device), _load(AutoTokenizer, path, field), processor
        model, tokenizer, processor = self._clipseg
        pixels = processor(images=[PilImage.fromarray(i) for i in images], return_tensors="pt")["pixel_values"]
        tokens = tokenizer([label] * len(images), padding=True, return_tensors="pt")
        device = self.settings.device
        logits = model(
            pixel_values=pixels.to(device),
            input_ids=tokens["input_ids"].to(device),
            attention_mask=tokens["attention_mask"].to(device),
        ).logits
        maps = logits.reshape(len(images), 1, *logits.shape[-2:]).float().sigmoid()
        size = images[0].shape[:2]
        return torch.nn.functional.interpolate(maps, size=size, mode="bilinear")[:, 0].cpu().numpy()

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B]: CLIP's probability of the style against a plain photo."""
        if self._clip is None:
            self._clip = ClipScorer(self.settings.judge_clip, "judge_clip", self.settings.device)
        logits = self._clip.logits(images, [f"a {label} picture", "a photo"])
        return 1.0 / (1.0 + np.exp(logits[:, 1] - logits[:, 0]))


def load_transformers(settings: VisionSettings) -> Backend:
    """The transformers backend. The judge's models are loaded when an intervention first asks for them."""
    given = settings.transformers
    assert given is not None
    tagger = CaptionTagger(settings.vocabulary) if given.tagger == "caption" else ClipTagger(given, settings.vocabulary)
    return Backend("grounding-dino+sam", tagger, GroundingDino(given), Sam(given), ClipJudge(given))


def _to_xyxy(box: np.ndarray, height: int, width: int) -> tuple[float, float, float, float]:
    cx, cy, w, h = (float(v) for v in box)
    x0, x1 = np.clip([(cx - w / 2) * width, (cx + w / 2) * width], 0, width)
    y0, y1 = np.clip([(cy - h / 2) * height, (cy + h / 2) * height], 0, height)
    return float(x0), float(y0), float(x1), float(y1)


def _share(xyxy: tuple[float, float, float, float], shape: tuple[int, ...]) -> float:
    x0, y0, x1, y1 = xyxy
    return (x1 - x0) * (y1 - y0) / (shape[0] * shape[1])
