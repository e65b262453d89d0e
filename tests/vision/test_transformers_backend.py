"""The real Grounding DINO, SAM, CLIP and CLIPSeg classes, on tiny random weights."""

import numpy as np
import pytest

from tests.vision.tiny_models import WORDS, build_tiny_vision
from vision.errors import VisionError
from vision.settings import VisionSettings
from vision.transformers_backend import CaptionTagger, load_transformers
from vision.types import Box, Tag


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build_tiny_vision(tmp_path_factory.mktemp("vision") / "models")


def settings(paths, **given):
    group = {
        "detector": paths["detector"],
        "segmenter": paths["segmenter"],
        "clip": paths["clip"],
        "judge_clip": paths["clip"],
        "judge_clipseg": paths["clipseg"],
        "tag_score": 0.0,
        "box_score": 0.0,
        "mask_score": -0.0,
        "min_area": 0.0,
        **given,
    }
    return VisionSettings(backend="transformers", transformers=group, vocabulary=tuple(WORDS[:8]))


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3)).astype(np.uint8))


def test_tag_detect_segment_end_to_end(paths, images):
    backend = load_transformers(settings(paths))
    tags = backend.tagger.tag(images, ["two trees and a car", "nothing of the kind"])
    assert [[t.label for t in of_image] for of_image in tags] == [["tree", "car"], []]
    boxes = backend.detector.detect(images, tags)
    assert boxes[0] and not boxes[1]
    assert {b.label for b in boxes[0]} <= {"tree", "car"}
    for box in boxes[0]:
        x0, y0, x1, y1 = box.xyxy
        assert 0 <= x0 <= x1 <= 128 and 0 <= y0 <= y1 <= 128 and 0 <= box.score <= 1
    segments = backend.segmenter.segment(images, boxes)
    assert not segments[1]
    assert all(s.mask.shape == (128, 128) and s.mask.dtype == bool for s in segments[0])


def test_each_tag_is_scored_on_its_own_tokens(paths):
    dino = load_transformers(settings(paths)).detector
    text, spans = dino._prompt([Tag("hot dog", 1), Tag("zoo", 1), Tag("car", 1)])
    tokens = dino.tokenizer.convert_ids_to_tokens(text["input_ids"][0].tolist())
    assert [tokens[a:b] for a, b in spans] == [["hot", "dog"], ["z", "##o", "##o"], ["car"]]


def test_long_tag_lists_are_chunked_and_lose_nothing(paths, images):
    dino = load_transformers(settings(paths)).detector
    tags = [Tag(f"{a} {b}", 1.0) for a in WORDS for b in WORDS]
    chunks = dino._chunks(tags)
    assert [t for chunk in chunks for t in chunk] == tags and len(chunks) > 1
    assert all(dino._prompt(chunk)[0]["input_ids"].shape[1] <= 256 for chunk in chunks)
    assert dino.detect(images[:1], [tags[:100]])[0]


def test_padding_free_boxes_agree_one_by_one(paths, images):
    """SAM's mask of a box does not depend on the other boxes of the image."""
    sam = load_transformers(settings(paths, merge_iou=1.0)).segmenter
    boxes = [Box("tree", 1, 1, (8.0, 8.0, 60.0, 80.0)), Box("car", 1, 1, (50.0, 20.0, 120.0, 100.0))]
    together = {s.label: s for s in sam.segment(images[:1], [boxes])[0]}
    for box in boxes:
        alone = sam.segment(images[:1], [[box]])[0][0]
        assert np.array_equal(alone.mask, together[box.label].mask)
        assert alone.mask_score == pytest.approx(together[box.label].mask_score, abs=1e-5)


def test_clip_tagger_and_judges(paths, images):
    backend = load_transformers(settings(paths, tagger="clip"))
    tags = backend.tagger.tag(images, ["", ""])
    assert all(sum(t.score for t in of_image) == pytest.approx(1.0, abs=1e-4) for of_image in tags)
    heat = backend.judge.object_map(images, "tree")
    assert heat.shape == (2, 128, 128) and (heat >= 0).all() and (heat <= 1).all()
    style = backend.judge.style_score(images, "night")
    assert style.shape == (2,) and (style > 0).all() and (style < 1).all()


def test_what_is_missing_is_named(paths, images, tmp_path):
    with pytest.raises(VisionError, match="vision.transformers.clip is empty"):
        load_transformers(settings(paths, tagger="clip", clip=None))
    with pytest.raises(VisionError, match="vision.transformers.detector .* cannot be loaded"):
        load_transformers(settings(paths, detector=str(tmp_path / "none")))
    with pytest.raises(VisionError, match="judge_clipseg is empty"):
        load_transformers(settings(paths, judge_clipseg=None)).judge.object_map(images, "tree")


def test_caption_tagger_matches_whole_words_and_plurals():
    tagger = CaptionTagger(("car", "bus", "tree"))
    tags = tagger.tag([None] * 3, ["Cars and buses", "a carpet", "a tree."])
    assert [[t.label for t in of_image] for of_image in tags] == [["car", "bus"], [], ["tree"]]
