"""Training a site of a study from a store on disk: which SAEs, which folders, half-recorded sites, live curves."""

import dataclasses
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zarr

from sae import checkpoint
from sae.errors import SAEError
from sae.io import load_sae
from sae.members import Member
from sae.metrics import partner_cosines
from sae.source import load_statistics
from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.records import SELF, read_record, record_path
from storage.tables import read_table
from study.config import load_config
from study.publish import lacking
from study.stages import STAGES
from study.study import Study
from tasks import artifacts, curves, learning, share, train
from tasks.learning import concept_origins
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


SITE = ("mid", 1.0, "cond")


def test_a_site_tells_how_its_saes_learned(made):
    summary = train_site(made, SITE)
    rows = {(r["k"], r["expansion"], r["seed"], r["kind"]): r for r in read_table(made.root, "sae_metrics").to_pylist()}
    curves: dict[tuple, list] = {}
    for point in read_table(made.root, "sae_curves").to_pylist():
        curves.setdefault(tuple(point[name] for name in ("k", "expansion", "seed", "kind")), []).append(point)
    assert set(curves) == {key for key in rows if key[3] != "untrained"}
    for key, points in curves.items():
        assert [p["step"] for p in points] == [0, 1, 2, 4, 8, 16, 26, 38, 51, 64]
        assert all(p["vectors"] == 32 * p["step"] for p in points)
        row, end = rows[key], points[-1]
        assert (row["init_cosine"], row["init_nearest"]) == (end["init_cosine"], end["init_nearest"])
        assert row["late_gain"] == pytest.approx(end["explained_variance"] - points[-2]["explained_variance"])
        # Of 256 held-out vectors the sample has eight for each of 32 latents: all of them.
        assert end["explained_variance"] == pytest.approx(row["explained_variance"], abs=1e-5)
        assert end["dead_fraction"] == row["dead_fraction"]
        assert end["stability"] == (None if row["stability"] is None else pytest.approx(row["stability"]))
    untrained = rows[2, 2, 0, "untrained"]
    assert (untrained["init_cosine"], untrained["init_nearest"]) == (1, 1)
    assert untrained["late_gain"] is None
    start, end = (load_sae(made.at(SITE).folder / name).W_dec for name in ("k2/untrained", "k2"))
    cosine = (end @ start.T).numpy()
    assert rows[2, 2, 0, "trained"]["init_cosine"] == pytest.approx(cosine.diagonal().mean(), abs=1e-5)
    assert rows[2, 2, 0, "trained"]["init_nearest"] == (cosine.argmax(1) == np.arange(32)).mean()
    assert any("init_cosine is above 0.5 in 2 of 2 dictionaries" in line for line in summary["cautions"])


def test_the_sae_of_all_times_has_a_curve_at_each_time(made):
    summary = train_shared(made, "mid", "cond")
    rows = {(r["t"], r["k"]): r for r in read_table(made.root, "sae_metrics").to_pylist() if r["seed"] == 0}
    points = read_table(made.root, "sae_curves").to_pylist()
    assert {p["kind"] for p in points} == {"shared"} and len(points) == 2 * 2 * 2 * 10
    ends = {(p["t"], p["k"]): p for p in points if p["step"] == rows[0.0, 2]["steps"] and p["seed"] == 0}
    for key, end in ends.items():
        assert end["explained_variance"] == pytest.approx(rows[key]["explained_variance"], abs=1e-5)
        assert end["init_cosine"] == rows[key]["init_cosine"] == ends[1.0, key[1]]["init_cosine"]
    assert rows[0.0, 2]["late_gain"] != rows[1.0, 2]["late_gain"]
    assert any("dictionaries (largest at mid/" in line and "shared" in line for line in summary["cautions"])


def test_a_concepts_start_and_its_partner_in_the_other_seed(made):
    train_site(made, SITE)
    here = made.at(SITE, 4)
    columns = concept_origins(here, here.sae())
    start, other = (load_sae(here.folder_of(name)).W_dec for name in ("untrained", "seed1"))
    vectors = load_sae(here.folder_of("trained")).W_dec
    assert columns["init_cosine"] == pytest.approx((vectors * start).sum(1).numpy(), abs=1e-5)
    filters = [("k", "==", 4), ("seed", "==", 1), ("expansion", "==", 2)]
    (row,) = read_table(made.root, "sae_metrics", filters=filters).to_pylist()
    assert columns["stability"].mean() == pytest.approx(row["stability"], abs=1e-6)
    assert columns["stability"] == pytest.approx(partner_cosines(vectors, other))
    alone = made.config.model_copy(update={"sae": made.config.sae.model_copy(update={"seeds": 1})})
    one = dataclasses.replace(made, config=alone).at(SITE, 4)
    assert concept_origins(one, one.sae())["stability"] == [None] * 32


def test_with_three_seeds_a_concepts_stability_is_the_mean_over_the_others(tmp_path):
    made = study(tmp_path, "sae.seeds=3")
    train_site(made, SITE)
    here = made.at(SITE, 4)
    vectors, *others = (load_sae(here.folder_of(name)).W_dec for name in ("trained", "seed1", "seed2"))
    wanted = sum(partner_cosines(vectors, other) for other in others) / 2
    assert concept_origins(here, here.sae())["stability"] == pytest.approx(wanted, abs=1e-6)


def test_a_sample_has_eight_vectors_a_latent_of_the_dictionary_split_standardised(made, monkeypatch):
    here = made.at(SITE)
    statistics = train.site_statistics(here, train.training_source(here))
    held_out = np.concatenate(list(train.source_of(here, "dictionary").chunks()))
    for per_latent, most, wanted in ((8, 8192, 256), (4, 8192, 128), (8, 99, 99)):
        monkeypatch.setattr(learning, "PER_LATENT", per_latent)
        monkeypatch.setattr(learning, "SAMPLE", most)
        x = learning.held_out_sample(here, statistics)
        assert len(x) in (wanted, wanted - wanted % 2) and x.dtype == torch.float32
        raw = np.round((x / statistics.scale + statistics.mean).numpy(), 3)
        known = {row.tobytes() for row in np.round(held_out, 3)}
        assert np.mean([row.tobytes() in known for row in raw]) > 0.9  # the rest differs by a rounding


def untimed(root, unit):
    """A record of training without what differs from run to run, which is its time and the digest of it all."""
    return {key: value for key, value in read_record(root, "train", unit).items() if key not in ("seconds_each", SELF)}


def test_a_site_recorded_in_half_is_trained_again_to_the_same_bits(made):
    site = ("mid", 1.0, "cond")
    train_site(made, site)
    record, part = record_path(made.root, "train", "mid/1.00/cond/k4"), "mid-1.00-cond-k4.parquet"
    before = untimed(made.root, "mid/1.00/cond/k4")
    table = next((made.at(site).folder.parents[3] / "tables" / "sae_metrics").glob(part)).read_bytes()
    record.unlink()
    (work,) = [work for work in works_of(made, STAGES["train"]) if work.given == {"site": site}]
    assert lacking(made, "train", list(work.units)) == ["mid/1.00/cond/k4"]
    train_site(made, site)
    assert untimed(made.root, "mid/1.00/cond/k4") == before
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


@pytest.fixture
def shown(monkeypatch):
    """Key and text of each curve that is published, as if in a task run."""
    shown = []
    monkeypatch.setattr(curves, "TaskRunContext", SimpleNamespace(get=lambda: "a task run"))
    monkeypatch.setattr(curves, "create_markdown_artifact", lambda text, key, description: shown.append((key, text)))
    return shown


def test_the_curve_shows_every_sae_and_its_last_row(made, shown):
    train_site(made, ("mid", 1.0, "cond"), curves.LiveCurves(made, "mid/1.00/cond"))
    key, text = shown[-1]
    assert key == "tiny-train-mid-100-cond"
    for member in (Member(2, 32, 0), Member(4, 32, 0, "frozen"), Member(2, 48, 1)):
        assert f"### {curves.member_name(member)}" in text
    assert "step 64 of 64" in text and "| 64 |" in text
    assert text.count("held out: explained") == text.count("### ") >= 10 and "| 51 |" in text and "| 0 |" in text
    points = {(p["k"], p["seed"], p["step"]): p for p in read_table(made.root, "sae_curves").to_pylist()
              if p["expansion"] == 2 and p["kind"] == "trained"}  # fmt: skip
    row = points[4, 1, 64]
    assert f"| 64 | {100 * row['explained_variance']:.1f} % | {100 * row['dead_fraction']:.1f} % |" in text
    assert f"{100 * row['init_nearest']:.0f} % | {row['stability']:.2f} |" in text


def test_the_curve_of_the_sae_of_all_times_is_a_mean(made, shown):
    train_shared(made, "mid", "cond", curves.LiveCurves(made, "mid/shared/cond"))
    points = read_table(made.root, "sae_curves", filters=[("k", "==", 2), ("seed", "==", 0)]).to_pylist()
    last = [p["explained_variance"] for p in points if p["step"] == points[-1]["step"]]
    assert len(last) == 2 and f"| {100 * sum(last) / 2:.1f} % |" in shown[-1][1]


def test_cautions_are_warnings_of_the_run_and_outside_a_task_run_no_curve_asks_for_a_server(made, monkeypatch):
    told = []
    monkeypatch.setattr(curves, "create_markdown_artifact", lambda *_, **__: pytest.fail("a server would be started"))
    monkeypatch.setattr(curves, "run_logger", lambda _study, stage: SimpleNamespace(warning=told.append))
    assert curves.train_site(made, made.at(SITE).site)["cautions"] == told
    curves.train_shared(made, "mid", "cond")
    assert any("shared" in line for line in told)


def test_the_artifacts_of_training_are_its_metrics_and_its_curves(made, monkeypatch):
    tables = {}
    monkeypatch.setattr(artifacts, "create_table_artifact", lambda rows, key, description: tables.update({key: rows}))
    train_site(made, SITE)
    artifacts.train_artifacts(made)
    assert {"init_cosine", "init_nearest", "late_gain"} <= set(tables["tiny-sae-metrics"][0])
    assert {row["kind"] for row in tables["tiny-learning-curves"]} == {"trained"} and len(
        tables["tiny-learning-curves"]
    ) == 80


def test_tensorboard_has_the_log_and_the_held_out_curve_each_point_once(made, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            self.folder = folder

        def add_scalar(self, key, value, step):
            written.append((self.folder, key, step))

        def flush(self):
            pass

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setattr(curves, "create_markdown_artifact", lambda *_, **__: None)
    run = made.config.run.model_copy(update={"tensorboard": True})
    asking = dataclasses.replace(made, config=made.config.model_copy(update={"run": run}))
    train_site(asking, SITE, curves.LiveCurves(asking, "mid/1.00/cond"))
    assert len(set(written)) == len(written)
    of_one = [(key, step) for folder, key, step in written if folder.endswith("/k2 n32 seed1")]
    steps = [0, 1, 2, 4, 8, 16, 26, 38, 51, 64]
    for name in ("explained_variance", "dead_fraction", "init_cosine", "init_nearest", "stability"):
        assert [step for key, step in of_one if key == f"held_out/{name}"] == steps
    assert {key for key, _ in of_one if "/" not in key} == {"fvu", "aux", "l0", "dead_fraction", "gradient_norm", "lr"}


def test_tensorboard_that_is_not_installed_is_named(made, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    run = made.config.run.model_copy(update={"tensorboard": True})
    asking = dataclasses.replace(made, config=made.config.model_copy(update={"run": run}))
    with pytest.raises(Exception, match="pip install tensorboard"):
        curves.LiveCurves(asking, "mid/1.00/cond")
