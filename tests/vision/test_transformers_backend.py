"""The whole graph on the real model classes, with tiny random weights."""

import numpy as np
import pytest
import torch

from vision.backend import load_backend
from vision.clip import ClipSegOpinion, Regions
from vision.errors import VisionError
from vision.loading import load, prepared
from vision.settings import VisionSettings
from vision.types import Box, Segment, Tag

PAIRS = [("detector", "segmenter"), ("mm_detector", "sam2"), ("owlv2", "segmenter")]


@pytest.mark.parametrize(("detector", "segmenter"), PAIRS)
def test_tag_detect_segment_end_to_end(paths, settings, images, detector, segmenter):
    backend = load_backend(settings(detector=paths[detector], segmenter=paths[segmenter], batch_size=2))
    kinds = {"detector": "grounding-dino", "mm_detector": "mm-grounding-dino", "segmenter": "sam"}
    assert backend.name == f"{kinds.get(detector, detector)}+{kinds.get(segmenter, segmenter)}"
    tags = backend.tagger.tag(images, ["two trees and a car", "nothing of the kind", "a sun"])
    assert [[t.label for t in of_image] for of_image in tags] == [["tree", "car"], [], ["sun"]]
    boxes = backend.detector.detect(images, tags)
    assert boxes[0] and not boxes[1] and {b.label for b in boxes[2]} == {"sun"}
    assert {b.label for b in boxes[0]} <= {"tree", "car"}
    for box in boxes[0]:
        x0, y0, x1, y1 = box.xyxy
        assert 0 <= x0 < x1 <= 150 and 0 <= y0 < y1 <= 100 and 0 <= box.score <= 1
    segments = backend.segmenter.segment(images, boxes)
    assert segments[0] and not segments[1]
    assert all(s.mask.shape == (100, 150) and s.mask.dtype == bool and s.mask.any() for s in segments[0])


def test_nothing_detected_is_an_empty_list_everywhere(settings, paths, images):
    backend = load_backend(settings(box_score=1.0, second_opinion=paths["clipseg"]))
    boxes = backend.detector.detect(images, [[Tag("tree", 1.0)]] * 3)
    assert boxes == [[], [], []] == backend.segmenter.segment(images, boxes)
    assert backend.opinion.confirm(images, boxes) == [[], [], []]
    assert backend.detector.detect([], []) == [] == backend.segmenter.segment([], [])


@pytest.mark.parametrize("height", [1, 3])
def test_images_of_one_and_three_pixels_run_through(paths, settings, height):
    backend = load_backend(settings(max_box=1.0))
    image = np.full((height, height, 3), 90, np.uint8)
    boxes = backend.detector.detect([image], [[Tag("tree", 1.0)]])
    assert boxes[0]
    assert all(s.mask.shape == (height, height) for s in backend.segmenter.segment([image], boxes)[0])
    strip = np.zeros((2, 300, 3), np.uint8)
    assert backend.detector.detect([strip], [[Tag("tree", 1.0)]])[0]


def test_three_rows_are_not_taken_for_channels(group):
    """An image [3, W, 3] is ambiguous to the library: left alone it reads the rows as channels."""
    image = np.random.default_rng(1).integers(0, 256, (3, 5, 3)).astype(np.uint8)
    loaded = Regions(group(), "judge_clipseg").loaded
    pixels = prepared(loaded, [image], do_resize=False, do_center_crop=False)["pixel_values"][0]
    mean, std = np.array(loaded.processor.image_mean), np.array(loaded.processor.image_std)
    assert np.allclose(pixels.numpy().transpose(1, 2, 0) * std + mean, image / 255, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \[8, 8\].*must be uint8 \[height, width, 3\]"),
        (np.zeros((8, 8, 4), np.uint8), r"\[8, 8, 4\]"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((0, 8, 3), np.uint8), "at least one pixel"),
        ([[1]], "is a list"),
    ],
)
def test_images_of_another_shape_are_refused(settings, image, says):
    backend = load_backend(settings())
    for run in (
        lambda: backend.detector.detect([image], [[Tag("tree", 1.0)]]),
        lambda: backend.segmenter.segment([image], [[Box("tree", 1, 1, (0, 0, 1, 1))]]),
        lambda: backend.judge.object_map([image], "tree"),
        lambda: backend.judge.style_score([image], "night"),
    ):
        with pytest.raises(VisionError, match=says):
            run()


def _poison(loaded):
    """Every weight NaN: whatever the model says is NaN."""
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.fill_(float("nan"))


@pytest.mark.parametrize(("detector", "segmenter"), PAIRS)
def test_nan_is_refused_by_name_of_model_and_field(paths, settings, images, detector, segmenter):
    backend = load_backend(settings(detector=paths[detector], segmenter=paths[segmenter], tagger="zero-shot"))
    for loaded in (backend.detector.loaded, backend.segmenter.loaded):
        _poison(loaded)
    _poison(backend.tagger.scorer.loaded)
    with pytest.raises(VisionError, match=f"vision.transformers.clip '{paths['clip']}' gives NaN"):
        backend.tagger.tag(images, [""] * 3)
    with pytest.raises(VisionError, match=f"vision.transformers.detector '{paths[detector]}' gives NaN"):
        backend.detector.detect(images, [[Tag("tree", 1.0)]] * 3)
    with pytest.raises(VisionError, match=f"vision.transformers.segmenter '{paths[segmenter]}' gives NaN"):
        backend.segmenter.segment(images[:1], [[Box("tree", 1, 1, (0.0, 0.0, 9.0, 9.0))]])


def test_nan_of_the_second_opinion_is_refused(paths, group, images):
    opinion = ClipSegOpinion(group(second_opinion=paths["clipseg"]))
    _poison(opinion.regions.loaded)
    segment = Segment("tree", np.ones((100, 150), bool), 1, 1, 1, (0, 0, 1, 1))
    with pytest.raises(VisionError, match=r"vision.transformers.second_opinion .* gives NaN"):
        opinion.confirm(images[:1], [[segment]])


def test_second_opinion_is_the_iou_with_clipsegs_region(paths, group, images):
    given = group(second_opinion=paths["clipseg"], batch_size=2)
    opinion = ClipSegOpinion(given)
    rng = np.random.default_rng(2)
    segments = [
        [Segment(label, rng.random((100, 150)) < 0.5, 1, 1, 1, (0, 0, 1, 1)) for label in labels]
        for labels in (["tree", "car", "tree"], [], ["sun"])
    ]
    found = opinion.confirm(images, segments)
    assert [len(f) for f in found] == [3, 0, 1]
    model = load(given, "second_opinion", {"clipseg": "CLIPSegForImageSegmentation"}, tokenizer=True)
    for image, of_image, scores in zip(images, segments, found, strict=True):
        for segment, score in zip(of_image, scores, strict=True):
            mask = np.logical_or.reduce([s.mask for s in of_image if s.label == segment.label])
            tokens = model.tokenizer([segment.label], return_tensors="pt")
            pixels = model.processor(images=image, do_center_crop=False, size={"height": 32, "width": 32})
            with torch.no_grad():
                logits = model.model(
                    input_ids=tokens["input_ids"], pixel_values=torch.tensor(np.stack(pixels["pixel_values"]))
                ).logits
            probability = logits.reshape(1, 1, 32, 32).sigmoid()
            region = torch.nn.functional.interpolate(probability, (100, 150), mode="bilinear")[0, 0].numpy() > 0.5
            assert score == pytest.approx((region & mask).sum() / (region | mask).sum(), abs=1e-3)


def test_judges(settings, images):
    judge = load_backend(settings()).judge
    heat = judge.object_map(images, "tree")
    assert heat.shape == (3, 100, 150) and heat.dtype == np.float32 and (heat >= 0).all() and (heat <= 1).all()
    style = judge.style_score(images, "night")
    assert style.shape == (3,) and (style > 0).all() and (style < 1).all()
    with pytest.raises(VisionError, match="images of one size"):
        judge.object_map([images[0], images[0][:50]], "tree")


def test_similarity_is_the_cosine_with_the_mean_of_the_words(settings, images):
    """Against transformers' own processor and model, and by hand from there."""
    judge = load_backend(settings()).judge
    found = judge.similarity(images, ["tree", "night"])
    loaded = judge._scorer.loaded
    tokens = loaded.tokenizer(["tree", "night"], padding=True, return_tensors="pt")
    with torch.no_grad():
        texts = loaded.model.get_text_features(**tokens).pooler_output
        pixels = torch.tensor(np.stack(loaded.processor(images=images)["pixel_values"]))
        seen = loaded.model.get_image_features(pixel_values=pixels).pooler_output
    mean = torch.nn.functional.normalize(texts, dim=1).mean(0)
    assert found.dtype == np.float32 and found.shape == (3,)
    assert found == pytest.approx(torch.nn.functional.cosine_similarity(seen, mean[None]).numpy(), abs=1e-4)
    alone = judge.similarity(images, ["tree"])
    assert alone == pytest.approx(torch.nn.functional.cosine_similarity(seen, texts[:1]).numpy(), abs=1e-4)
    assert judge.similarity([], ["tree"]).shape == (0,)


def test_features_are_the_unit_embeddings_of_the_images(settings, images):
    judge = load_backend(settings()).judge
    found = judge.features(images)
    loaded = judge._scorer.loaded
    with torch.no_grad():
        pixels = torch.tensor(np.stack(loaded.processor(images=images)["pixel_values"]))
        seen = torch.nn.functional.normalize(loaded.model.get_image_features(pixel_values=pixels).pooler_output)
    assert found.dtype == np.float32 and found == pytest.approx(seen.numpy(), abs=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("detector", "segmenter"), PAIRS)
def test_half_precision_stays_near_float32(paths, settings, images, detector, segmenter, dtype):
    scores, areas = [], []
    boxes = [[Box("tree", 1, 1, (8.0, 8.0, 60.0, 80.0))]] * 3
    for kind in ("float32", dtype):
        backend = load_backend(settings(detector=paths[detector], segmenter=paths[segmenter], dtype=kind))
        found = backend.detector.detect(images, [[Tag("tree", 1.0)]] * 3)
        scores.append([max(b.score for b in of_image) for of_image in found])
        areas.append([s[0].mask.mean() for s in backend.segmenter.segment(images, boxes)])
    assert np.allclose(*scores, atol=0.03) and np.allclose(*areas, atol=0.01)


def test_what_is_missing_is_named(paths, settings, images, tmp_path):
    with pytest.raises(VisionError, match=r"vision.transformers.clip is empty"):
        load_backend(settings(tagger="zero-shot", clip=None))
    with pytest.raises(VisionError, match=r"vision.transformers.detector .* cannot be loaded"):
        load_backend(settings(detector=str(tmp_path / "none")))
    with pytest.raises(VisionError, match=r"detector .* is a model of type 'sam', .* give one of grounding-dino, mm-"):
        load_backend(settings(detector=paths["segmenter"]))
    with pytest.raises(VisionError, match="judge_clipseg is empty"):
        load_backend(settings(judge_clipseg=None)).judge.object_map(images, "tree")


def test_a_missing_package_is_named(group, monkeypatch):
    def needs_more(*_, **__):
        raise ImportError("SiglipTokenizer requires the SentencePiece library")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", needs_more)
    with pytest.raises(VisionError, match=r"requires the SentencePiece library.*pip install 'concept-atlas\[siglip\]'"):
        Regions(group(), "judge_clipseg")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"vocabulary": ("a",), "vocabulary_file": "b.txt"}, "both given: keep one"),
        ({}, "vocabulary is empty"),
        ({"vocabulary": ("a",), "plugin": {"x": 1}}, "vision.plugin is given"),
        ({"vocabulary": ("a",), "transformers": {"tagger": "clip"}}, "tagger is 'clip': give 'caption', 'fixed'"),
        ({"vocabulary": ("a",), "transformers": {"tagger": "plugin:"}}, "'plugin:NAME'"),
        ({"vocabulary": ("a",), "transformers": {"prompt_template": "a photo"}}, "needs one {} for the label"),
        ({"backend": "mini", "mini": {"path": "x"}, "plugin": {"x": 1}}, "reads no plug-in settings"),
    ],
)
def test_contradictory_settings_are_refused(given, says):
    with pytest.raises(ValueError, match=says):
        VisionSettings(**{"backend": "transformers", "transformers": {}} | given)


def test_settings_are_keys_of_caches():
    a, b = (VisionSettings(backend="mine", plugin={"path": p, "deep": {"x": [1]}}) for p in ("p", "q"))
    again = VisionSettings(backend="mine", plugin={"path": "p", "deep": {"x": [1]}})
    assert len({a, b, again}) == 2 and hash(a) == hash(again)
