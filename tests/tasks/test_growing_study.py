"""A study whose source grows, three nights in a row, against one made at once; killed in between; SAEs that follow."""

import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from multiprocessing import get_context

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

import tasks.grow
from sae.io import load_sae
from storage.activations import ActivationStore
from storage.growth import growths_of
from storage.inspect import table_hashes
from storage.shown import newest, shown_growths
from storage.store_metadata import store_path
from storage.tables import count_rows, read_table
from study.config import load_config
from study.opening import open_existing, open_or_create
from study.repair import plan_repair, repair
from study.revise import plan_revision, revise
from study.status import status
from study.undone import done_units, is_behind
from study.verify import inspect_study, verify
from tests.paths import ROOT
from tests.plain import make

SMALL = [  # one site, one SAE, one edit of a kind
    "prompts.split_by=caption",
    "prompts.splits={train: 0.4, dictionary: 0.3, layout: 0.15, style: 0.15}",
    "prompts.shard_size=2",
    "sampling.steps=2",
    "sites.blocks={mid: mid_block.attentions.0}",
    "sites.times=[1.0]",
    "sae.seeds=1",
    "sae.controls=[]",
    "sae.frozen_control=false",
    "sae.across_time=false",
    "sae.batch_size=64",
    "layout.attention=false",
    "interventions.windows={early: [0.6, 1.0, 1.0]}",
    "interventions.spatial_strengths=[8]",
    "interventions.styles=[]",
]
SIZE, NEW_SHARD = 2, "the second new shard"
NIGHTS = (60, 70, 84)  # captions that there are on each
pytestmark = pytest.mark.slow(15)


def config(source, *more):
    return load_config(ROOT / "configs" / "tiny.yaml", [f"prompts.source={source}", *SMALL, *more])


REFRESHED = ("sae.refresh=retrain", "sae.refresh_from=0")


def arrive(source, night):
    """The captions of a night come in, as a file of their own."""
    source.mkdir(exist_ok=True)
    captions = pq.read_table(ROOT / "miniature" / "captions.parquet")
    first = (0, *NIGHTS)[night]
    pq.write_table(captions.slice(first, NIGHTS[night] - first), source / f"{night}.parquet")


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """A study after each of three nights, copied, and what each night made. SAEs are trained anew each time."""
    source = tmp_path_factory.mktemp("captions") / "source"
    folder, root, made = tmp_path_factory.mktemp("nights"), tmp_path_factory.mktemp("grown") / "study", []
    for night in range(len(NIGHTS)):
        arrive(source, night)
        made.append(make(root, config(source, *REFRESHED)))
        shutil.copytree(root, folder / str(night))
    return source, folder, made


def planned(root):
    return growths_of(root)


def test_three_nights_have_the_tables_of_one_reading(nights, tmp_path):
    source, folder, _ = nights
    make(tmp_path / "once", config(source, *REFRESHED))
    assert table_hashes(folder / "2") == table_hashes(tmp_path / "once")
    assert planned(folder / "2").splits == planned(tmp_path / "once").splits


def test_each_night_does_the_new_captions_alone(nights):
    _, folder, made = nights
    for night in (1, 2):
        before, now = planned(folder / str(night - 1)), planned(folder / str(night))
        shards = range(len(before.splits), len(now.splits))
        assert made[night]["collect"] == [f"{shard:06d}" for shard in shards]
        segmented = [f"{s:06d}" for s in shards if now.splits[s] in ("dictionary", "layout")]
        assert made[night]["segment"] == made[night]["areas"] == segmented
        assert made[night]["plan"] == [f"prompts-{night:04d}"]
        assert {"train", "label", "layout", "intervene", "effects"} <= set(made[night])
        for shard in range(len(before.splits)):  # not a byte of what was there
            name = f"activations.zarr/mid/1.00/cond/c/{shard}/0/0/0"
            assert (folder / str(night) / name).read_bytes() == (folder / str(night - 1) / name).read_bytes()


def test_a_grown_study_is_whole_and_has_nothing_to_do(nights):
    source, folder, _ = nights
    report = inspect_study(folder / "2")
    assert (report.damage, report.foreign, report.left_over) == ([], [], [])
    told = status(folder / "2")
    assert all(told["done"][stage] == told["expected"][stage] for stage in told["expected"] if stage != "draw")
    study = open_existing(folder / "2", config(source, *REFRESHED))
    assert done_units(study, "collect") and done_units(study, "train")
    assert make(folder / "2", config(source, *REFRESHED)) == {}


def test_the_store_is_what_zarr_reads_and_resizes(nights):
    _, folder, _ = nights
    store = ActivationStore.open(folder / "2")
    array = zarr.open_group(store_path(folder / "2"), mode="r")["mid/1.00/cond"]
    assert array.shape[0] == store.n_prompts == SIZE * len(planned(folder / "2").splits)
    maps = array[:].reshape(array.shape[0], -1)
    assert np.isfinite(maps).all() and (np.abs(maps).max(1) > 0).all()  # no prompt that was never sampled


def test_captions_that_went_are_told_and_nothing_is_removed(nights, tmp_path):
    source, folder, _ = nights
    root, other = shutil.copytree(folder / "2", tmp_path / "study"), tmp_path / "other"
    shutil.copytree(source, other)
    pq.write_table(pq.read_table(other / "0.parquet").slice(20), other / "0.parquet")
    study = replace(open_existing(root, config(source, *REFRESHED)), source="other")
    object.__setattr__(study.config.prompts, "source", str(other))
    before = table_hashes(root)
    told = tasks.grow.grow(study, 3)
    assert told["grown"] == "0 new captions, 0 new shards" and "left it; the prompts stay" in told["gone"]
    assert table_hashes(root) == before and verify(root) == []


def test_readers_see_the_old_growth_until_the_new_one_is_whole(nights, tmp_path):
    source, folder, _ = nights
    root = shutil.copytree(folder / "1", tmp_path / "study")
    shown, tables = table_hashes(root), dict[str, dict[str, str]]()
    make_label = partial(make, root, config(source, *REFRESHED), "collect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.plain.show_grown", lambda *_: tables.setdefault("meanwhile", table_hashes(root)))
        make_label()
        for command in ("train", "label", "layout", "intervene"):
            make(root, config(source, *REFRESHED), command)
            assert table_hashes(root) == shown, command  # a reader's look after each command
        with newest():
            assert count_rows(root, "prompts") == SIZE * len(planned(folder / "2").splits)
    assert tables["meanwhile"] == shown and verify(root) == []
    assert is_behind(open_existing(root, config(source, *REFRESHED)), ["label"])
    make(root, config(source, *REFRESHED))
    assert table_hashes(root) == table_hashes(folder / "2") and set(shown_growths(root).values()) >= {2}
    assert inspect_study(root).left_over == []


def grow_and_die(root, settings, at):
    """Grow, and die without a word at a moment: as kill -9 does."""
    os.environ["OMP_NUM_THREADS"] = "1"
    write, count = __import__("storage.atomic", fromlist=["write_atomic"]).write_atomic, [0]

    def dying(path, data):
        write(path, data)
        count[0] += 1
        if at in str(path):
            os.kill(os.getpid(), signal.SIGKILL)

    for module in ("storage.store_documents", "storage.activations", "storage.records", "storage.tables"):
        __import__(module, fromlist=["write_atomic"]).write_atomic = dying
    make(root, settings, "collect")


@pytest.mark.faults
@pytest.mark.parametrize(
    "at",
    [
        "activations.zarr/mid/1.00/cond/zarr.json",
        "activations.zarr/zarr.json",
        "tables/prompts/prompts-0002",
        "done/plan/prompts-0002.json",
        NEW_SHARD,
    ],
)
def test_a_kill_in_the_middle_of_growing_loses_nothing(nights, tmp_path, at):
    source, folder, _ = nights
    root = shutil.copytree(folder / "1", tmp_path / "study")
    shown = table_hashes(root)
    at = f"c/{len(planned(root).splits) + 1}/0/0/0" if at == NEW_SHARD else at
    process = get_context("fork").Process(target=grow_and_die, args=(root, config(source, *REFRESHED), at))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert table_hashes(root) == shown and verify(root) == []
    make(root, config(source, *REFRESHED), "collect")
    known = ("prompts", "images")
    grown, wanted = table_hashes(root), table_hashes(folder / "2")
    assert {t: grown[t] for t in known} == {t: wanted[t] for t in known}
    assert ActivationStore.open(root).facts == ActivationStore.open(folder / "2").facts


def test_a_growths_lost_record_is_written_again(nights, tmp_path):
    _, folder, _ = nights
    source = nights[0]
    root = shutil.copytree(folder / "2", tmp_path / "study")
    (root / "done/plan/prompts-0001.json").write_text("{")
    assert ["plan/prompts-0001" in line for line in verify(root)] == [True]
    repair(root, plan_repair(root))
    assert make(root, config(source, *REFRESHED)) == {"plan": ["prompts-0001"]}
    assert verify(root) == [] and table_hashes(root) == table_hashes(folder / "2")


def test_a_grown_stores_metadata_are_written_again_and_it_goes_on_growing(nights, tmp_path):
    source, folder, _ = nights
    root = shutil.copytree(folder / "1", tmp_path / "study")
    wanted = (root / "activations.zarr/zarr.json").read_bytes()
    (root / "activations.zarr/zarr.json").write_text("{")
    assert verify(root)
    repair(root, plan_repair(root))
    assert verify(root) == [] and (root / "activations.zarr/zarr.json").read_bytes() == wanted
    make(root, config(source, *REFRESHED), "collect")
    assert verify(root) == []
    assert ActivationStore.open(root).facts == ActivationStore.open(folder / "2").facts


@pytest.mark.parametrize("mode", ["never", "continue"])
def test_saes_stay_or_go_on_as_they_are_told(nights, tmp_path, mode):
    source, folder, _ = nights
    root = shutil.copytree(folder / "0", tmp_path / "study")
    revise(plan_revision(root, config(source, f"sae.refresh={mode}", "sae.refresh_from=0")))
    with newest():
        before = read_table(root, "sae_metrics").to_pylist()
    sae = load_sae(root / "saes/mid/1.00/cond/k4")
    made = {}
    for command in ("collect", "train", *(["label"] if mode == "never" else [])):
        made |= make(root, config(source, f"sae.refresh={mode}", "sae.refresh_from=0"), command)
    after = read_table(root, "sae_metrics").to_pylist()
    assert "label" in made and "train" not in made if mode == "never" else "train" in made
    assert verify(root) == []
    if mode == "never":
        assert after == before
        return
    was, now = (next(row for row in rows if row["kind"] == "trained") for rows in (before, after))
    trained = len(planned(folder / "2").shards(["train"]))
    share = 1 - len(planned(folder / "0").shards(["train"])) / trained
    assert now["steps"] == round(share * 2 * trained * SIZE) and now["steps"] < was["steps"] * 2
    near = (load_sae(root / "saes/mid/1.00/cond/k4").W_dec * sae.W_dec).sum(1)
    assert near.median() > 0.5  # a new start would be another draw only by training; these are the same latents


def test_a_study_by_order_does_not_grow(tmp_path):
    source = tmp_path / "source"
    arrive(source, 0)
    settings = load_config(ROOT / "configs" / "tiny.yaml", [f"prompts.source={source}", "prompts.splits.train=8"])
    study = open_or_create(tmp_path / "study", settings)
    assert study.source is None and study.hash_of("train") == open_or_create(tmp_path / "study", settings).hash_of(
        "train"
    )
