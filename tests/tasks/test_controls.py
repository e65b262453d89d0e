"""The controls' encoders against numpy, and what must differ between them and a dictionary."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae.model import TopKSAE
from storage.activations import ActivationStore
from tasks import controls
from tasks.config import load_config
from tasks.controls import both_poles, classical_fit, fit_vectors, principal_directions, shuffled_decoder
from tasks.study import Study
from tests.paths import ROOT


def codes(sae, x):
    values, latents = sae.encode(torch.from_numpy(x))
    return torch.zeros(len(x), sae.n).scatter_(1, latents, values).numpy()


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, 6)) * [5, 4, 3, 2, 1, 0.5] + 1).astype(np.float32)


def test_neurons_are_the_strongest_channels_of_either_sign(x):
    mean = x.mean(0)
    z = codes(both_poles(Path("x"), torch.eye(6), torch.from_numpy(mean), 2), x)
    moved = x - mean
    for row, vector in zip(z, moved, strict=True):
        strongest = np.argsort(-np.abs(vector))[:2]
        expected = np.zeros(12, np.float32)
        for channel in strongest:
            expected[channel + (6 if vector[channel] < 0 else 0)] = abs(vector[channel])
        assert row == pytest.approx(expected, abs=1e-5)


def test_principal_directions_are_scikit_learns(x):
    from sklearn.decomposition import PCA

    ours, theirs = principal_directions(x).numpy(), PCA(6).fit(x).components_
    assert np.abs((ours * theirs).sum(1)) == pytest.approx(np.ones(6), abs=1e-4)


def test_a_shuffled_decoder_keeps_norms_and_entries_and_loses_the_rest():
    sae = TopKSAE(64, 32, 4)
    with torch.no_grad():
        torch.nn.init.normal_(sae.W_dec)
        sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
        torch.nn.init.normal_(sae.b_dec)
    sae.requires_grad_(False)
    shuffled = shuffled_decoder(sae, 4, seed=0)
    before, after = sae.W_dec.numpy(), shuffled.W_dec.numpy()
    assert np.array_equal(np.sort(before, 1), np.sort(after, 1))
    assert np.abs((before * after).sum(1)).max() < 0.7  # 32 cosines of about normal with sd 1 / 8
    assert np.array_equal(shuffled.W_enc.numpy(), after.T) and np.array_equal(shuffled.b_dec, sae.b_dec)
    assert np.array_equal(shuffled_decoder(sae, 4, seed=0).W_dec, shuffled.W_dec)
    values, latents = shuffled.encode(torch.randn(10, 64))
    assert values.shape == (10, 4)


SITE, PROMPTS, TRAIN, SHARD = ("mid", 0.0, "cond"), 100, 90, 4


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A study of 23 training shards of 16 vectors, the last cut short by the split, that notes every read."""
    splits = f"prompts.splits={{train: {TRAIN}, dictionary: 8, layout: 1, style: 1}}"
    study = Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", [splits]), "hash")
    store = ActivationStore.create(tmp_path, {SITE: (2, 2, 3)}, PROMPTS, SHARD)
    data = np.random.default_rng(0).normal(size=(PROMPTS, 2, 2, 3)).astype(np.float16)
    for shard in range(store.n_shards):
        store.write_shard(SITE, shard, data[slice(*store.shard_range(shard))])
    read, original = [], ActivationStore.read
    monkeypatch.setattr(ActivationStore, "read", lambda self, *a: read.append(a[1:]) or original(self, *a))
    return study, data, read


@pytest.mark.parametrize(("wanted", "shards"), [(48, 8), (180, 12), (10_000, 23)])
def test_a_fit_reads_few_shards_spread_over_the_split(large, monkeypatch, wanted, shards):
    study, data, read = large
    monkeypatch.setattr(controls, "FIT_VECTORS", wanted)
    x = fit_vectors(study, SITE)
    assert len(read) == len(set(read)) == shards and read[0] == (0, 4) and read[-1] == (88, 90)
    gaps = np.diff([first for first, _ in read])
    assert gaps.max() <= 4 * -(-22 // (shards - 1))
    whole = min(wanted, 4 * TRAIN)
    assert whole - 8 < len(x) <= whole and x.dtype == np.float32  # the short shard may have less than its share
    known = {row.tobytes() for row in data[:TRAIN].reshape(-1, 3).astype(np.float32)}
    rows = [row.tobytes() for row in x]
    assert len(set(rows)) == len(rows) and set(rows) <= known
    assert np.array_equal(fit_vectors(study, SITE), x)


def test_a_site_is_fitted_once_for_all_its_dictionaries(large):
    study, data, read = large
    mean, directions = classical_fit(study, SITE)
    first = len(read)
    assert classical_fit(study, SITE)[1] is directions and len(read) == first > 0
    assert mean.numpy() == pytest.approx(data[:TRAIN].reshape(-1, 3).mean(0, dtype=float), abs=1e-3)
    other = Study(study.root, study.config.model_copy(update={"seed": 1}), "hash")
    classical_fit(other, SITE)
    assert len(read) > first
