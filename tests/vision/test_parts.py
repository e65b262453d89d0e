"""Masks, ceilings and suppression against brute force; the scene world's backend on scenes of known truth."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miniature.world import LOOKS, make_scene
from tests.paths import ROOT, SCENE_VISION
from vision.backend import load_backend
from vision.ceiling import iou_ceiling
from vision.errors import VisionError
from vision.mini import MiniVision
from vision.mini_network import SceneNetwork
from vision.rle import decode, encode
from vision.settings import MiniSettings, VisionSettings
from vision.types import Box, Segment, Tag

SECOND_JUDGE = ROOT / "miniature" / "weights" / "second-judge"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**30))
def test_rle_round_trip(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    counts, size = encode(mask)
    assert np.array_equal(decode(counts, size), mask)
    assert sum(counts) == mask.size and sum(counts[1::2]) == mask.sum()


def test_rle_is_cocos():
    mask = np.array([[1, 0], [1, 0], [0, 1]], bool)
    assert encode(mask) == ([0, 2, 3, 1], (3, 2))
    with pytest.raises(ValueError, match="runs cover"):
        decode([1, 2], (2, 2))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.floats(0.05, 0.95))
def test_ceiling_equals_the_best_of_all_cell_sets(seed, density):
    mask = np.random.default_rng(seed).random((9, 9)) < density
    best = 0.0
    for chosen in itertools.product([False, True], repeat=9):
        big = np.kron(np.array(chosen).reshape(3, 3), np.ones((3, 3))).astype(bool)
        union = (big | mask).sum()
        best = max(best, (big & mask).sum() / union if union else 0.0)
    assert iou_ceiling(mask, (3, 3)) == pytest.approx(best)


def test_ceiling_of_a_disc_is_the_one_measured_beforehand():
    rows, columns = np.indices((512, 512))
    disc = (rows - 256) ** 2 + (columns - 256) ** 2 <= 64**2
    assert iou_ceiling(disc, (8, 8)) == pytest.approx(0.785, abs=0.01)  # centred: the best place
    assert iou_ceiling(np.roll(disc, (32, 32), (0, 1)), (8, 8)) == pytest.approx(0.5, abs=0.12)


@pytest.fixture(scope="module")
def backend():
    return load_backend(VisionSettings(backend="mini", mini=MiniSettings(path=str(SCENE_VISION))))


def test_scene_backend_finds_what_was_drawn(backend):
    scenes = [make_scene(40_000_000 + i) for i in range(40)]
    images, captions = [s.image for s in scenes], [s.caption for s in scenes]
    tags = backend.tagger.tag(images, captions)
    found = backend.segmenter.segment(images, backend.detector.detect(images, tags))
    inter, union = {}, {}
    for scene, segments in zip(scenes, found, strict=True):
        for label in scene.masks:
            of_label = [s.mask for s in segments if s.label == label]
            predicted = np.logical_or.reduce(of_label) if of_label else np.zeros((64, 64), bool)
            inter[label] = inter.get(label, 0) + (predicted & scene.masks[label]).sum()
            union[label] = union.get(label, 0) + (predicted | scene.masks[label]).sum()
    ious = {label: inter[label] / union[label] for label in union}
    assert np.mean(list(ious.values())) > 0.8, ious
    looks = [{s.label for s in segments} & set(LOOKS) for segments in found]
    assert np.mean([got == ({s.look} if s.look else set()) for got, s in zip(looks, scenes, strict=True)]) > 0.95


def test_judge_scores_point_at_the_drawn_thing(backend):
    scenes = [s for s in (make_scene(41_000_000 + i) for i in range(80)) if "tree" in s.masks][:10]
    heat = backend.judge.object_map([s.image for s in scenes], "tree")
    inside = np.mean([h[s.masks["tree"]].mean() for h, s in zip(heat, scenes, strict=True)])
    outside = np.mean([h[~s.masks["tree"]].mean() for h, s in zip(heat, scenes, strict=True)])
    assert inside > 0.5 > 0.1 > outside


def test_the_heads_read_the_features_that_the_judge_gives(backend):
    """The class head is linear in the last features: of their means it makes its mean logits. The look's likewise."""
    images = [make_scene(45_000_000 + i).image for i in range(5)]
    network, found = backend.judge.network, backend.judge.features(images)
    assert found.dtype == np.float32 and found.shape == (5, network.body.summary + network.width)
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    deep, last = torch.from_numpy(found).split([network.body.summary, network.width], 1)
    with torch.no_grad():
        judged = network(pixels)
        read = network.classes(last[:, :, None, None])[:, :, 0, 0]
        looks = network.style(torch.cat([deep, pixels.mean((2, 3)), pixels.std((2, 3))], 1))
    assert torch.allclose(read, judged.classes.mean((2, 3)), atol=1e-4)
    assert torch.allclose(looks, judged.styles, atol=1e-4)
    two = MiniVision(network, MiniSettings(path="", batch_size=2)).features(images)
    assert two == pytest.approx(found, abs=1e-5)
    assert backend.judge.features([]).shape == (0, found.shape[1])
    with pytest.raises(VisionError, match="reads \\[64, 64, 3\\] only"):
        backend.judge.features([images[0][:32]])


def test_damaged_missing_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(VisionError, match=r"config.json is missing"):
        SceneNetwork.load(tmp_path)
    SceneNetwork(("a",), ("plain",), width=8).save(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    data = weights.read_bytes()
    weights.write_bytes(data[:100])
    with pytest.raises(VisionError, match="damaged"):
        SceneNetwork.load(tmp_path)
    weights.unlink()
    with pytest.raises(VisionError, match=r"model.safetensors is missing"):
        SceneNetwork.load(tmp_path)
    config.write_text(config.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(VisionError, match=r"is 1, this code reads 2: rebuild it with `python -m miniature.train`"):
        SceneNetwork.load(tmp_path)


def test_incomplete_settings_are_refused():
    with pytest.raises(ValueError, match=r"vision.mini must be given"):
        VisionSettings(backend="mini")
    with pytest.raises(ValueError, match="vocabulary is empty"):
        VisionSettings(backend="transformers", transformers={})


def test_the_scene_network_runs_in_batches_of_bounded_size(backend):
    images = [make_scene(42_000_000 + i).image for i in range(10)]
    sizes = []
    backend.tagger.network.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    small = MiniVision(backend.tagger.network, MiniSettings(path="", batch_size=4))
    tags = small.tag(images, [""] * 10)
    assert sizes == [4, 4, 2]
    assert [[t.label for t in of] for of in tags] == [[t.label for t in of] for of in backend.tagger.tag(images, [])]
    assert small.tag([], []) == [] == small.detect([], []) == small.segment([], [])


def test_second_network_confirms_what_it_sees_itself():
    settings = MiniSettings(path=str(SCENE_VISION), second_path=str(SECOND_JUDGE))
    both = load_backend(VisionSettings(backend="mini", mini=settings))
    scenes = [make_scene(43_000_000 + i) for i in range(24)]
    images = [s.image for s in scenes]
    segments = both.segmenter.segment(images, both.detector.detect(images, both.tagger.tag(images, [])))
    opinions = both.opinion.confirm(images, segments)
    assert [len(o) for o in opinions] == [len(s) for s in segments]
    second = MiniVision(SceneNetwork.load(SECOND_JUDGE), MiniSettings(path=""))
    styles = [{t.label for t in tags} & set(LOOKS) for tags in second.tag(images, [])]
    of_objects = []
    for image, of_image, scores, style in zip(images, segments, opinions, styles, strict=True):
        for segment, score in zip(of_image, scores, strict=True):
            mask = np.logical_or.reduce([s.mask for s in of_image if s.label == segment.label])
            if segment.label in LOOKS:
                assert score == float(segment.label in style)
                continue
            region = second.object_map([image], segment.label)[0] > 0.5
            assert score == pytest.approx((region & mask).sum() / (region | mask).sum())
            of_objects.append(score)
    assert np.mean(of_objects) > 0.6 and sum(bool(s) for s in styles) > 3
    # A mask that covers what is not there is not confirmed.
    blank = Segment("car", np.roll(np.eye(64, dtype=bool), 3), 1, 1, 1, (0, 0, 64, 64))
    assert both.opinion.confirm(images[:1], [[blank]])[0][0] < 0.1


def test_mini_refuses_what_it_cannot_read(backend, tmp_path):
    with pytest.raises(VisionError, match=r"image 0 is \[32, 64, 3\]: the mini backend reads \[64, 64, 3\] only"):
        backend.tagger.tag([np.zeros((32, 64, 3), np.uint8)], [""])
    image = make_scene(44_000_000).image
    with pytest.raises(VisionError, match="does not know 'zebra': it knows house"):
        backend.detector.detect([image], [[Tag("zebra", 1.0)]])
    assert backend.segmenter.segment([image], [[Box("car", 1, 1, (0.0, 0.0, 0.0, 0.0))]]) == [[]]
    SceneNetwork(("a",), ("plain",), width=8).save(tmp_path)
    with pytest.raises(VisionError, match=r"second_path .* does not know ball, balloon"):
        load_backend(
            VisionSettings(backend="mini", mini=MiniSettings(path=str(SCENE_VISION), second_path=str(tmp_path)))
        )
    broken = SceneNetwork.load(SCENE_VISION)
    with torch.no_grad():
        broken.classes.bias.fill_(float("nan"))
    with pytest.raises(VisionError, match=r"vision.mini.path 'x' gives NaN"):
        MiniVision(broken, MiniSettings(path="x")).tag([image], [""])
