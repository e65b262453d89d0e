"""The scene world: exact, seeded, silent about positions; and its training resumes exactly."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from miniature.checkpoint import load_checkpoint
from miniature.prompts import SCHEMA, rows
from miniature.tokenizer import world_words, write_tokenizer
from miniature.train_diffusion import DiffusionRun, DiffusionSettings, train_diffusion
from miniature.world import LABELS, make_scene
from tests.paths import ROOT

POSITION = re.compile(r"\b(left|right|top|bottom|upper|lower|centre|center|middle|behind|front|beside|corner)\b")


def test_a_scene_is_a_function_of_its_seed():
    a, b = make_scene(7), make_scene(7)
    assert np.array_equal(a.image, b.image) and a.caption == b.caption
    assert not np.array_equal(a.image, make_scene(8).image)


def test_masks_partition_the_image_and_captions_name_what_is_there():
    for seed in range(150):
        scene = make_scene(seed)
        total = np.sum([m.astype(int) for m in scene.masks.values()], axis=0)
        assert (total == 1).all() and set(scene.masks) <= set(LABELS)
        assert not POSITION.search(scene.caption)
        assert all(item.name in scene.caption.replace(",", "").split() for item in scene.objects)
        assert scene.ground in scene.caption


def test_an_unknown_object_is_refused():
    with pytest.raises(ValueError, match="unknown object 'dragon': the world knows house"):
        make_scene(0, ("dragon",))


def test_captions_come_in_laion_cocos_columns():
    shipped = pq.read_schema(ROOT / "miniature" / "captions.parquet")
    assert shipped.names == SCHEMA.names
    table = rows(300, seed=1)
    assert table.schema == SCHEMA and table["top_caption"].null_count > 0
    assert max(table["punsafe"].to_pylist()) > 0.1


def test_every_world_word_is_one_token_and_other_text_survives(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    assert all(len(tokenizer.tokenize(word)) == 1 for word in world_words())
    ids = tokenizer("zebra Привет 草").input_ids
    assert tokenizer.unk_token_id not in ids[1:-1] and len(ids) > 5


def test_a_resumed_training_run_equals_an_undisturbed_one(tmp_path):
    def run():
        latents = np.random.default_rng(0).normal(size=(20, 2, 4, 16, 16)).astype(np.float16)
        settings = DiffusionSettings(scenes=20, batch=2, width=16, warmup=2)
        return DiffusionRun(settings, latents, ["a tree", "a red car"] * 10, write_tokenizer(tmp_path / "tokenizer"))

    torch.set_num_threads(1)
    train_diffusion(run(), tmp_path / "a", 4, checkpoint_every=4)
    first = run()
    for _ in range(2):
        first.train_step(4)
    first.save(tmp_path / "c" / "diffusion")
    train_diffusion(run(), tmp_path / "c", 4, checkpoint_every=4)
    a, c = (load_checkpoint(tmp_path / name / "diffusion") for name in "ac")
    assert a is not None and c is not None
    assert all(torch.equal(a[0][key], c[0][key]) for key in a[0])
    with pytest.raises(ValueError, match="other settings"):
        other = run()
        other.settings = DiffusionSettings(scenes=20, batch=4, width=16, warmup=2)
        other.resume(tmp_path / "a" / "diffusion")
