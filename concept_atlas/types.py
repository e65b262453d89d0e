"""The types that a plug-in implements: see docs/vision.md for how a package offers them."""

from vision.types import Backend, Box, Detector, Judge, Opinion, Segment, Segmenter, Tag, Tagger

__all__ = ["Backend", "Box", "Detector", "Judge", "Opinion", "Segment", "Segmenter", "Tag", "Tagger"]
