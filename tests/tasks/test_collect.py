"""Sampling a shard: every activation, the images that are looked at, and a shard in memory once."""

import tracemalloc
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest

from diffusion.sampling import Samples
from storage.images import decode_png
from study.config import load_config
from study.study import Study
from tasks import collect
from tests.paths import ROOT

SITES = [("mid", 1.0, "cond"), ("up", 0.0, "cond")]
SHAPE = (16, 16, 64)


def prompts(start, stop):
    ids = list(range(start, stop))
    return pa.table({"prompt_id": ids, "caption": [f"prompt {i}" for i in ids], "seed": ids})


def activation(site, prompt_id):
    return np.full(SHAPE, prompt_id + 100 * SITES.index(site), np.float16)


def study(root, *settings):
    """16 training prompts and then 40 others."""
    return Study(str(root), load_config(ROOT / "configs" / "tiny.yaml", settings), "hash")


@pytest.fixture
def decoded(monkeypatch):
    """The prompts whose images are asked of a model that answers with each prompt's number."""
    asked = []

    def sample(model, captions, seeds, settings, record, decode):
        images = [np.full((8, 8, 3), seed, np.uint8) for seed in seeds] if decode else []
        asked.extend(seeds if decode else [])
        return Samples(np.array(images), {site: np.stack([activation(site, seed) for seed in seeds]) for site in SITES})

    monkeypatch.setattr(collect, "sample", sample)
    monkeypatch.setattr(collect, "borrowed_model", nullcontext)
    return asked


@pytest.mark.parametrize(
    ("batch", "keep", "kept", "asked"),
    [
        (8, "false", [*range(8), *range(16, 24)], [*range(8), *range(16, 24)]),
        (6, "false", [*range(8), *range(16, 24)], [*range(12), *range(12, 24)]),  # batches keep their composition
        (8, "true", list(range(24)), list(range(24))),
    ],
)
def test_images_of_the_train_split_are_not_decoded_but_for_the_first(tmp_path, decoded, batch, keep, kept, asked):
    made = study(tmp_path, f"sampling.batch_size={batch}", f"sampling.train_images={keep}")
    rows, activations = collect._sample_all(made, prompts(0, 24))
    assert [row["prompt_id"] for row in rows] == kept and decoded == asked
    for row in rows:
        assert (decode_png(row["image"]) == row["prompt_id"]).all()
    for site in SITES:
        assert np.array_equal(activations[site], np.stack([activation(site, i) for i in range(24)]))


def test_a_shards_activations_are_in_memory_once(tmp_path, decoded):
    made = study(tmp_path, "sampling.batch_size=4")
    tracemalloc.start()
    _, activations = collect._sample_all(made, prompts(16, 80))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    whole, batch = sum(a.nbytes for a in activations.values()), 4 * sum(a[0].nbytes for a in activations.values())
    assert peak < whole + 4 * batch < 1.3 * whole
