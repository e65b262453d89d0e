"""Which vectors the classical controls are fitted on, and how often."""

import numpy as np
import pytest

from storage.activations import ActivationStore
from study.config import load_config
from study.study import Study
from tasks import fits
from tasks.controls import classical_fit
from tasks.fits import fit_vectors
from tests.paths import ROOT

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
    monkeypatch.setattr(fits, "FIT_VECTORS", wanted)
    x = fit_vectors(study.at(SITE))
    assert len(read) == len(set(read)) == shards and read[0] == (0, 4) and read[-1] == (88, 90)
    gaps = np.diff([first for first, _ in read])
    assert gaps.max() <= 4 * -(-22 // (shards - 1))
    whole = min(wanted, 4 * TRAIN)
    assert whole - 8 < len(x) <= whole and x.dtype == np.float32  # the short shard may have less than its share
    known = {row.tobytes() for row in data[:TRAIN].reshape(-1, 3).astype(np.float32)}
    rows = [row.tobytes() for row in x]
    assert len(set(rows)) == len(rows) and set(rows) <= known
    assert np.array_equal(fit_vectors(study.at(SITE)), x)


def test_a_site_is_fitted_once_for_all_its_dictionaries(large):
    study, data, read = large
    mean, directions = classical_fit(study.at(SITE))
    first = len(read)
    assert classical_fit(study.at(SITE))[1] is directions and len(read) == first > 0
    assert mean.numpy() == pytest.approx(data[:TRAIN].reshape(-1, 3).mean(0, dtype=float), abs=1e-3)
    other = Study(study.root, study.config.model_copy(update={"seed": 1}), "hash")
    classical_fit(other.at(SITE))
    assert len(read) > first
