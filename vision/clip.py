"""CLIP and SigLIP: how well words fit an image. CLIPSeg: where a word's thing is. The judge and the second opinion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vision.errors import VisionError
from vision.images import batches, check_images
from vision.loading import load, numbers, prepared, refuse_long, running
from vision.nms import label_unions, mask_iou
from vision.settings import TransformersSettings
from vision.types import Image, Segment

REGIONS = {"clipseg": "CLIPSegForImageSegmentation"}
SCORERS = {"clip": "CLIPModel", "siglip": "SiglipModel"}
TEXTS_AT_ONCE = 256


class Scorer:
    """Similarities of images with texts. Each text's features are computed once and kept."""

    def __init__(self, settings: TransformersSettings, field: str) -> None:
        self.settings = settings
        self.loaded = load(settings, field, SCORERS, tokenizer=True)
        self.text_limit = self.loaded.model.config.text_config.max_position_embeddings
        self._features: dict[str, torch.Tensor] = {}

    def learn(self, labels: Sequence[str]) -> None:
        """Compute the features of the labels in the prompt template. Raises ``VisionError`` for one too long."""
        self._learn({label: self.settings.prompt_template.format(label) for label in labels})

    def probabilities(self, images: list[Image], labels: Sequence[str]) -> np.ndarray:
        """float32 [B, labels]: CLIP's softmax over the labels, or SigLIP's sigmoid of each label by itself."""
        texts = [self.settings.prompt_template.format(label) for label in labels]
        logits = torch.from_numpy(self.logits(images, texts))
        return (logits.softmax(1) if self.loaded.model_type == "clip" else logits.sigmoid()).numpy()

    def logits(self, images: list[Image], texts: Sequence[str]) -> np.ndarray:
        """float32 [B, texts]: scaled cosine similarities, with SigLIP's bias."""
        check_images(images)
        self._learn({text: text for text in texts})
        words = torch.stack([self._features[text] for text in texts])
        parts = [self._of_batch(batch, words) for batch in batches(images, self.settings.batch_size)]
        return np.concatenate(parts) if parts else np.zeros((0, len(texts)), np.float32)

    def similarity(self, images: list[Image], words: Sequence[str]) -> np.ndarray:
        """float32 [B]: cosine with the mean of the words' unit embeddings, the words as they are."""
        check_images(images)
        self._learn({word: word for word in words})
        mean = _unit(torch.stack([self._features[word] for word in words]).mean(0))
        parts = []
        for batch in batches(images, self.settings.batch_size):
            features = self._image_features(batch)
            with running(self.settings, exact=True):
                parts.append(numbers(features @ mean, self.loaded.name, "image similarities"))
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def embed(self, images: list[Image]) -> np.ndarray:
        """float32 [B, F]: unit embeddings of the images."""
        check_images(images)
        parts = [
            numbers(self._image_features(batch), self.loaded.name, "image embeddings")
            for batch in batches(images, self.settings.batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)

    def _image_features(self, images: Sequence[Image]) -> torch.Tensor:
        pixels = prepared(self.loaded, images)["pixel_values"].to(self.settings.device)
        with running(self.settings):
            features = self.loaded.model.get_image_features(pixel_values=pixels).pooler_output
        return _unit(features)

    def _of_batch(self, images: Sequence[Image], words: torch.Tensor) -> np.ndarray:
        model, features = self.loaded.model, self._image_features(images)
        with running(self.settings, exact=True):
            bias = model.logit_bias if self.loaded.model_type == "siglip" else 0.0
            logits = features @ words.T * model.logit_scale.exp() + bias
        return numbers(logits, self.loaded.name, "image scores")

    def _learn(self, texts: dict[str, str]) -> None:
        """``texts``: what errors call a text -> the text."""
        new = {label: text for label, text in texts.items() if text not in self._features}
        refuse_long(self.loaded, new, self.text_limit)
        for batch in batches(list(new.values()), TEXTS_AT_ONCE):
            with running(self.settings):
                features = self.loaded.model.get_text_features(**self._tokens(list(batch))).pooler_output
            self._features.update(zip(batch, _unit(features), strict=True))

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        device = self.settings.device
        if self.loaded.model_type == "siglip":  # trained on texts padded to the full length, with no mask
            tokens = self.loaded.tokenizer(texts, padding="max_length", max_length=self.text_limit, return_tensors="pt")
            return {"input_ids": tokens["input_ids"].to(device)}
        tokens = self.loaded.tokenizer(texts, padding=True, return_tensors="pt")
        return {name: tokens[name].to(device) for name in ("input_ids", "attention_mask")}


class Regions:
    """CLIPSeg: where in an image a label is."""

    def __init__(self, settings: TransformersSettings, field: str) -> None:
        self.settings = settings
        self.loaded = load(settings, field, REGIONS, tokenizer=True)
        size = self.loaded.processor.size
        self.side = int(size.get("shortest_edge") or size["height"])

    def maps(self, images: Sequence[Image], labels: Sequence[str]) -> list[np.ndarray]:
        """Probability of ``labels[i]`` at each pixel of ``images[i]``, float32 [H, W]. Raises ``VisionError``."""
        check_images(images)
        limit = self.loaded.model.config.text_config.max_position_embeddings
        refuse_long(self.loaded, {label: label for label in labels}, limit)
        pairs = list(zip(images, labels, strict=True))
        return [one for batch in batches(pairs, self.settings.batch_size) for one in self._of_batch(batch)]

    def _of_batch(self, pairs: Sequence[tuple[Image, str]]) -> list[np.ndarray]:
        # The whole image, squeezed to a square: a crop would leave its borders without a map.
        size = {"height": self.side, "width": self.side}
        pixels = prepared(self.loaded, [i for i, _ in pairs], size=size, do_center_crop=False)["pixel_values"]
        tokens = self.loaded.tokenizer([label for _, label in pairs], padding=True, return_tensors="pt")
        device = self.settings.device
        with running(self.settings):
            logits = self.loaded.model(
                pixel_values=pixels.to(device),
                input_ids=tokens["input_ids"].to(device),
                attention_mask=tokens["attention_mask"].to(device),
            ).logits
        probability = numbers(logits.float().sigmoid(), self.loaded.name, "map of a label")
        square = torch.from_numpy(probability.reshape(len(pairs), 1, *probability.shape[-2:]))
        return [_resized(one, image.shape[:2]) for one, (image, _) in zip(square, pairs, strict=True)]


class ClipJudge:
    """CLIPSeg says where an object is, CLIP or SigLIP how much of a style an image has. Loaded on first use."""

    def __init__(self, settings: TransformersSettings) -> None:
        self.settings = settings
        self._regions: Regions | None = None
        self._scorer: Scorer | None = None

    def object_map(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B, H, W]: CLIPSeg's probability. Raises ``VisionError`` if the images differ in size."""
        self._regions = self._regions or Regions(self.settings, "judge_clipseg")
        maps = self._regions.maps(images, [label] * len(images))
        if len({m.shape for m in maps}) > 1:
            raise VisionError("object_map needs images of one size: call it once for each size")
        return np.stack(maps)

    def style_score(self, images: list[Image], label: str) -> np.ndarray:
        """float32 [B]: probability of the style against a plain photo."""
        self._scorer = self._scorer or Scorer(self.settings, "judge_clip")
        logits = self._scorer.logits(images, [f"a {label} picture", "a photo"])
        return 1.0 / (1.0 + np.exp(logits[:, 1] - logits[:, 0]))

    def similarity(self, images: list[Image], words: Sequence[str]) -> np.ndarray:
        """float32 [B]: cosine of each image with the mean embedding of the words."""
        self._scorer = self._scorer or Scorer(self.settings, "judge_clip")
        return self._scorer.similarity(images, words)

    def features(self, images: list[Image]) -> np.ndarray:
        """float32 [B, F]: the image embeddings of ``judge_clip``, of length 1."""
        self._scorer = self._scorer or Scorer(self.settings, "judge_clip")
        return self._scorer.embed(images)


class ClipSegOpinion:
    """A segment is as sure as CLIPSeg's own region of its label agrees with its mask."""

    def __init__(self, settings: TransformersSettings) -> None:
        self.regions = Regions(settings, "second_opinion")

    def confirm(self, images: list[Image], segments: list[list[Segment]]) -> list[list[float]]:
        """IoU of all that the image has of a segment's label with the pixels where CLIPSeg gives it more than 0.5.

        CLIPSeg does not part one instance from another, so the segments of one label in one image share their number.
        """
        unions = [label_unions(of_image) for of_image in segments]
        pairs = [(number, label) for number, of_image in enumerate(unions) for label in sorted(of_image)]
        maps = self.regions.maps([images[number] for number, _ in pairs], [label for _, label in pairs])
        scores = {
            (number, label): mask_iou(unions[number][label], heat > 0.5)
            for (number, label), heat in zip(pairs, maps, strict=True)
        }
        return [[scores[number, segment.label] for segment in of_image] for number, of_image in enumerate(segments)]


def _unit(features: torch.Tensor) -> torch.Tensor:
    features = features.float()
    return features / features.norm(dim=-1, keepdim=True)


def _resized(square: torch.Tensor, size: tuple[int, ...]) -> np.ndarray:
    return torch.nn.functional.interpolate(square[None], size=size, mode="bilinear")[0, 0].numpy()
