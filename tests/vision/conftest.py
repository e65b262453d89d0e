"""Folders of tiny models, written once, and settings that let every random score through."""

import numpy as np
import pytest

from tests.vision.tiny_models import WORDS, build_tiny_vision
from vision.settings import TransformersSettings, VisionSettings


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    return build_tiny_vision(tmp_path_factory.mktemp("vision") / "models")


@pytest.fixture(scope="session")
def group(paths):
    """Settings of the group ``transformers``: no threshold, nothing merged, nothing suppressed."""

    def make(**given):
        open_to_all = {"tag_score": 0, "box_score": 0, "mask_score": 0, "min_area": 0, "nms_iou": 1, "merge_iou": 1}
        folders = {
            "detector": paths["detector"],
            "segmenter": paths["segmenter"],
            "clip": paths["clip"],
            "judge_clip": paths["clip"],
            "judge_clipseg": paths["clipseg"],
        }
        return TransformersSettings(**folders | open_to_all | given)

    return make


@pytest.fixture(scope="session")
def settings(group):
    def make(vocabulary=tuple(WORDS[:8]), plugin=None, **given):
        return VisionSettings(
            backend="transformers", transformers=group(**given), vocabulary=vocabulary, plugin=plugin or {}
        )

    return make


@pytest.fixture(scope="session")
def images():
    return list(np.random.default_rng(0).integers(0, 256, (3, 100, 150, 3)).astype(np.uint8))
