"""The prepared check of a GPU, on the miniature and a CPU: it must find nothing wrong there, and must be able to."""

import argparse
import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks import full_size, full_size_gpu, random_model, tiles
from benchmarks.full_size_gpu import Subject
from diffusion.edits import Edit
from study.config import load_config
from study.contradictions import refuse_contradictions
from tests.paths import ROOT
from vision.backend import load_backend
from vision.settings import VisionSettings

BLOCKS = {"mid": "mid_block.attentions.0", "up": "up_blocks.1.attentions.0"}


@pytest.fixture
def subject(monkeypatch):
    monkeypatch.setattr(full_size_gpu, "BATCH", 2)
    monkeypatch.setattr(full_size_gpu, "ROUNDS", 1)
    # A processor without bfloat16 takes ten times as long for each step: one for every recorded time, and no more.
    monkeypatch.setattr(full_size_gpu, "SAMPLING", full_size_gpu.SAMPLING.model_copy(update={"steps": 3}))
    monkeypatch.setattr(full_size_gpu, "LEAST_COSINE", {"bfloat16": 0.99})
    return Subject(ROOT / "miniature/weights/sd-mini", BLOCKS, "cpu", "float32")


@pytest.mark.slow
def test_recording_edits_and_trainer_hold_on_the_miniature(subject, capsys):
    assert full_size_gpu.recording(subject) == []
    assert full_size_gpu.trainer(subject) == []
    assert "images/s" in capsys.readouterr().out


def test_an_edit_that_is_not_what_it_says_is_found(subject, monkeypatch):
    monkeypatch.setattr(full_size_gpu, "_edit", lambda s, change: Edit(BLOCKS["up"], 0.6, 1.0, lambda d, t: change(d)))
    assert any("off what was added" in problem for problem in full_size_gpu.edits(subject))


def test_the_edit_as_it_is_holds(subject):
    assert full_size_gpu.edits(subject) == []


def test_findings_are_shared_by_label_and_by_every_number():
    first = [("tree", [1.0, 2.0]), ("tree", [5.0, 5.0]), ("house", [1.0, 2.0]), ("boat", [0.0, 0.0])]
    second = [("tree", [1.4, 1.6]), ("tree", [5.0, 5.6]), ("house", [1.0, 2.0])]
    assert full_size_gpu.shared(first, second, 0.5) == 0.5
    assert full_size_gpu.shared(first, first, 0.0) == 1.0


def test_a_tile_is_where_the_plug_in_says(tmp_path, monkeypatch):
    tiles.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    backend = load_backend(VisionSettings(backend="tiles", vocabulary=("tree", "night")))
    images = [np.zeros((64, 64, 3), np.uint8)]
    tags = backend.tagger.tag(images, ["a tree and a house"])
    (found,) = backend.segmenter.segment(images, backend.detector.detect(images, tags))
    assert [segment.label for segment in found] == ["tree"]
    row, column = tiles.tile_of("tree")
    assert found[0].mask.sum() == 16 * 16 and found[0].mask[16 * row, 16 * column]
    assert found[0].xyxy == (16 * column, 16 * row, 16 * column + 16, 16 * row + 16)


def test_the_study_is_the_papers_but_for_its_size(tmp_path):
    scale = full_size.SCALES["cuda"]
    path = full_size.write_config(tmp_path, scale, "cpu")
    written, papers = path.read_text(), (ROOT / "configs/sd14.yaml").read_text()
    for line in ("down_blocks.2.attentions.1", "up_blocks.1.attentions.0", "guidance_scale: 7.5", "expansion: 4"):
        assert line in written and line in papers
    captions = pq.read_table(tmp_path / "captions.parquet")["top_caption"].to_pylist()
    assert len(set(captions)) == len(captions) == sum(scale.splits.values())


@pytest.mark.parametrize("device", full_size.SCALES)
def test_no_stage_of_the_study_refuses_its_settings(tmp_path, device):
    """One that the last stage refused had cost all stages before it."""
    refuse_contradictions(load_config(full_size.write_config(tmp_path, full_size.SCALES[device], device)))


def test_named_times_take_the_place_of_the_devices_own_and_leave_the_windows_that_hold_one():
    options = argparse.Namespace(device="cuda", times=[1.0, 0.0], conditionings=["cond"])
    scale = full_size.chosen_scale(options)
    assert scale.times == (1.0, 0.0) and scale.conditionings == ("cond",) and scale.windows == ("early", "final")
    assert (
        full_size.chosen_scale(argparse.Namespace(device="cpu", times=None, conditionings=None))
        == (full_size.SCALES["cpu"])
    )


def test_the_tokenizer_has_clips_size_and_reads_the_captions(tmp_path):
    random_model.write_full_tokenizer(tmp_path)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    assert len(vocabulary) == 49408 and sorted(vocabulary.values()) == list(range(49408))
    assert dataclasses.asdict(full_size.SCALES["cpu"])["k"] == (10, 20)
