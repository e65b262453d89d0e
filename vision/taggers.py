"""What may be in an image: words of its caption, a fixed list, or what CLIP or SigLIP finds."""

from __future__ import annotations

import math

from vision.clip import Scorer
from vision.errors import VisionError
from vision.images import check_images
from vision.plugins import TAGGERS, load_plugin
from vision.settings import OWN_TAGGERS, TransformersSettings, VisionSettings
from vision.types import Image, Tag, Tagger
from vision.vocabulary import Vocabulary
from vision.words import mentions


class CaptionTagger:
    """Vocabulary words that the image's own caption names, plurals included; every score is 1."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Tags in the order of the vocabulary."""
        return [[Tag(word, 1.0) for word in self.labels if mentions(caption, word)] for caption in captions]


class FixedTagger:
    """Every vocabulary word for every image; every score is 1. What is absent is left to the detector."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.tags = [Tag(label, 1.0) for label in labels]

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """All tags, in the order of the vocabulary."""
        return [list(self.tags) for _ in images]


class ZeroShotTagger:
    """Vocabulary words whose probability reaches their own threshold, else ``tag_score``."""

    def __init__(self, settings: TransformersSettings, vocabulary: Vocabulary) -> None:
        self.scorer = Scorer(settings, "clip")
        self.labels = vocabulary.labels
        self.thresholds = [settings.tag_score if t is None else t for t in vocabulary.thresholds]
        self.scorer.learn(self.labels)

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """Tags of each image, best first."""
        return [self._above(row.tolist()) for row in self.scorer.probabilities(images, self.labels)]

    def _above(self, scores: list[float]) -> list[Tag]:
        kept = [
            Tag(label, score)
            for label, score, least in zip(self.labels, scores, self.thresholds, strict=True)
            if score >= least
        ]
        return sorted(kept, key=lambda tag: (-tag.score, tag.label))


class PluginTagger:
    """Another package's tagger, whose answers are checked."""

    def __init__(self, name: str, tagger: Tagger) -> None:
        self.name, self.tagger = name, tagger

    def tag(self, images: list[Image], captions: list[str]) -> list[list[Tag]]:
        """The plug-in's tags. Raises ``VisionError`` if a list or a score is not what was promised."""
        check_images(images)
        lists = self.tagger.tag(images, captions)
        if len(lists) != len(images):
            raise VisionError(f"tagger plug-in {self.name!r} gave {len(lists)} lists for {len(images)} images: fix it")
        for tag in (tag for of_image in lists for tag in of_image):
            if math.isnan(tag.score):
                raise VisionError(f"tagger plug-in {self.name!r} gives NaN for the score of {tag.label!r}: fix it")
        return lists


def load_tagger(settings: VisionSettings, vocabulary: Vocabulary) -> Tagger:
    """The tagger that ``settings.transformers.tagger`` names. Raises ``VisionError``."""
    given = settings.transformers
    assert given is not None
    if given.tagger_plugin:
        make = load_plugin(TAGGERS, given.tagger_plugin, "vision.transformers.tagger", OWN_TAGGERS)
        return PluginTagger(given.tagger_plugin, make(settings))
    if given.tagger == "zero-shot":
        return ZeroShotTagger(given, vocabulary)
    return CaptionTagger(vocabulary.labels) if given.tagger == "caption" else FixedTagger(vocabulary.labels)
