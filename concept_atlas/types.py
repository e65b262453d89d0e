"""What a plug-in implements and raises: see docs/vision.md for how a package offers it."""

from storage.errors import AtlasError
from vision.types import Backend, Box, Detector, Judge, Opinion, Segment, Segmenter, Tag, Tagger

__all__ = ["AtlasError", "Backend", "Box", "Detector", "Judge", "Opinion", "Segment", "Segmenter", "Tag", "Tagger"]
