"""Training a site of a study from a store on disk: which SAEs, which folders, half-recorded sites, live curves."""

import dataclasses

import numpy as np
import pytest
import torch
import zarr

from sae import checkpoint
from sae.errors import SAEError
from sae.io import load_sae
from sae.members import Member
from sae.source import load_statistics
from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.records import record_path
from storage.tables import read_table
from study.config import load_config
from study.publish import lacking
from study.stages import STAGES
from study.study import Study
from tasks import curves, share, train
from tasks.match import match_times
from tasks.share import train_shared
from tasks.train import train_site
from tasks.units import works_of
from tests.paths import ROOT

SHAPE, PROMPTS = (4, 4, 16), 56


def study(root, *overrides, batch_size=32):
    """configs/tiny.yaml with one block of 16 channels whose activations are sums of a few known directions."""
    given = [
        "sites.blocks={mid: mid_block.attentions.0}",
        "interventions.block=mid",
        f"sae.batch_size={batch_size}",
        *overrides,
    ]
    made = Study(str(root), load_config(ROOT / "configs" / "tiny.yaml", given), "hash")
    store = ActivationStore.create(root, dict.fromkeys(made.config.sites_list(), SHAPE), PROMPTS, 8)
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(24, 16)) / 4
    for site in store.sites:
        for shard in range(store.n_shards):
            start, stop = store.shard_range(shard)
            codes = rng.random((stop - start, 4, 4, 24)) * (rng.random((stop - start, 4, 4, 24)) < 0.12)
            store.write_shard(site, shard, (codes @ directions + 3 * site[1]).astype(np.float16))
    return made


@pytest.fixture
def made(tmp_path):
    return study(tmp_path, "sae.k=[2, 4]", "sae.expansion=[2, 3]", "sae.epochs=8")


def test_a_site_gives_every_sae_its_folder_and_its_row(made):
    site = ("mid", 1.0, "cond")
    train_site(made, site)
    folder = made.at(site).folder
    found = {str(p.parent.relative_to(folder)) for p in folder.rglob("cfg.json")}
    per_k = {"", "/untrained", "/frozen", "/soft_frozen", "/frozen_encoder", "/seed1", "/x3", "/x3/seed1"}
    assert found == {f"k{k}{tail}" for k in (2, 4) for tail in per_k}
    rows = read_table(made.root, "sae_metrics").to_pylist()
    assert len(rows) == len(found)
    by = {(r["k"], r["expansion"], r["seed"], r["kind"]): r for r in rows}
    for k in (2, 4):
        trained, frozen, untrained = (by[k, 2, 0, kind] for kind in ("trained", "frozen", "untrained"))
        soft, encoder = (by[k, 2, 0, kind] for kind in ("soft_frozen", "frozen_encoder"))
        assert trained["explained_variance"] > frozen["explained_variance"] > untrained["explained_variance"]
        assert trained["l0"] <= k and trained["stability"] is None and 0 < by[k, 2, 1, "trained"]["stability"] < 1
        assert sum(trained["density_histogram"]) == round((1 - trained["dead_fraction"]) * 32)
        assert trained["explained_variance"] > encoder["explained_variance"] > untrained["explained_variance"]
        assert frozen["explained_variance"] < soft["explained_variance"] and soft["stability"] is None
        assert untrained["steps"] == 0 and trained["steps"] == frozen["steps"] > 0
    statistics = load_statistics(folder / "statistics.safetensors")
    assert statistics.n_vectors == 16 * 16 and statistics.gamma > 1
    assert (folder / "k2" / "log.jsonl").read_text().count("\n") > 5


def test_a_site_recorded_in_half_is_trained_again_to_the_same_bits(made):
    site = ("mid", 1.0, "cond")
    train_site(made, site)
    record, part = record_path(made.root, "train", "mid/1.00/cond/k4"), "mid-1.00-cond-k4.parquet"
    before = (record.parents[0] / "k4.json").read_bytes()
    table = next((made.at(site).folder.parents[3] / "tables" / "sae_metrics").glob(part)).read_bytes()
    record.unlink()
    (work,) = [work for work in works_of(made, STAGES["train"]) if work.given == {"site": site}]
    assert lacking(made, "train", list(work.units)) == ["mid/1.00/cond/k4"]
    train_site(made, site)
    assert record.read_bytes() == before
    assert next((made.at(site).folder.parents[3] / "tables" / "sae_metrics").glob(part)).read_bytes() == table


def sweep_checkpoints(study):
    train.sweep_checkpoints(study)
    share.sweep_checkpoints(study)


def checkpoints(study):
    return sorted(p for p in study.at(("mid", 1.0, "cond")).folder.parents[1].rglob("checkpoint*"))


def keeping(study):
    run = study.config.run.model_copy(update={"keep_checkpoints": True})
    return dataclasses.replace(study, config=study.config.model_copy(update={"run": run}))


def test_checkpoints_go_when_their_saes_are_published_or_stay_on_request(made):
    site = ("mid", 1.0, "cond")
    train_site(keeping(made), site)
    kept = checkpoints(made)
    assert [p.name for p in kept].count("checkpoint.json") == 1 and len(kept) == 1 + 14  # one a member
    sweep_checkpoints(keeping(made))
    assert checkpoints(made) == kept
    record_path(made.root, "train", "mid/1.00/cond/k4").unlink()
    sweep_checkpoints(made)
    assert checkpoints(made) == kept  # there is something left to resume
    train_site(made, site)
    assert not checkpoints(made) and (made.at(site).folder / "k2" / "log.jsonl").exists()


@pytest.mark.parametrize("point", [0, 1])
def test_a_kill_between_record_and_removal_leaves_checkpoints_to_the_next_run(made, monkeypatch, point):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(*((train, "remove_checkpoint") if point == 0 else (checkpoint.shutil, "rmtree")), killed)
        for call in (lambda: train_site(made, ("mid", 1.0, "cond")), lambda: train_shared(made, "mid", "cond")):
            with pytest.raises(KeyboardInterrupt):
                call()
    left = checkpoints(made)
    assert left and sum(p.name == "checkpoint.json" for p in left) == (2 if point == 0 else 0)
    everything = made.at(("mid", 1.0, "cond")).folder.rglob("*.safetensors")
    published = {p: p.read_bytes() for p in everything if "step-" not in p.name}
    sweep_checkpoints(made)
    assert not checkpoints(made)
    assert published and {p: p.read_bytes() for p in published} == published


def test_the_shared_sae_has_one_direction_at_all_times_and_is_matched_to_itself(made):
    for t in (1.0, 0.0):
        train_site(made, ("mid", t, "cond"))
    train_shared(made, "mid", "cond")
    early, late = (load_sae(made.at(("mid", t, "cond")).folder / "k2" / "shared") for t in (1.0, 0.0))
    assert torch.equal(early.W_dec, late.W_dec) and not torch.equal(early.b_dec, late.b_dec)
    match_times(made, "mid", "cond", 2)
    rows = read_table(made.root, "concept_matches").to_pylist()
    assert {(r["kind"], r["chosen_by"]) for r in rows} == {
        ("shared", "identity"),
        ("trained", "cosine"),
        ("trained", "coactivation"),
    }
    assert all(r["cid_to"] == r["cid_from"] and r["cosine"] == pytest.approx(1) for r in rows if r["kind"] == "shared")


def test_too_few_vectors_and_a_damaged_store_are_one_sentence(tmp_path):
    small = study(tmp_path / "a", batch_size=4096)
    with pytest.raises(SAEError, match=r"fewer training vectors than sae.batch_size 4096"):
        train_site(small, ("mid", 1.0, "cond"))
    broken = study(tmp_path / "b")
    zarr.open_array(tmp_path / "b" / "activations.zarr" / "mid" / "1.00" / "cond", mode="r+")[9, 0, 0, 0] = np.inf
    with pytest.raises(StorageError, match=r"mid/1.00/cond are not finite for prompt 9 \(shard 1\)"):
        train_site(broken, ("mid", 1.0, "cond"))


def test_the_curve_shows_every_sae_and_its_last_row(made, monkeypatch):
    shown = []
    monkeypatch.setattr(curves, "create_markdown_artifact", lambda text, key, description: shown.append((key, text)))
    train_site(made, ("mid", 1.0, "cond"), curves.LiveCurves(made, "mid/1.00/cond"))
    key, text = shown[-1]
    assert key == "train-mid-100-cond"
    for member in (Member(2, 32, 0), Member(4, 32, 0, "frozen"), Member(2, 48, 1)):
        assert f"### {curves.member_name(member)}" in text
    assert "step 64 of 64" in text and "| 64 |" in text


def test_tensorboard_that_is_not_installed_is_named(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    run = made.config.run.model_copy(update={"tensorboard": True})
    asking = dataclasses.replace(made, config=made.config.model_copy(update={"run": run}))
    with pytest.raises(Exception, match="pip install tensorboard"):
        curves.LiveCurves(asking, "mid/1.00/cond")
