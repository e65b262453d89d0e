"""Revising a study's settings: what follows from the change is redone, everything else stays, and a kill is resumed.

A study of the last settings is made here from nothing, too, by runs of which each is killed in another stage. That the
revised study has the very same tables is asked once, and answers for both.
"""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from flows import cli
from storage.inspect import table_hashes
from storage.query import query
from storage.records import read_record, records
from study.config import load_config
from study.hashes import stage_hashes
from study.opening import open_or_create
from study.preconditions import units_of
from study.revise import plan_revision
from study.stages import STAGES as DECLARED
from study.stages import stages_of
from study.status import expected_units, status
from study.study import Study
from study.verify import verify
from tests.parts import make_old
from tests.paths import ROOT
from tests.system.conftest import SMALL, given, kill_nine_once

STAGES = [stage.name for stage in stages_of("run")]
pytestmark = pytest.mark.system
CONFIG = "configs/tiny.yaml"
STRICTER = "vision.mini.min_score=0.97"
FEWER = ["sae.across_time=false", "sae.frozen_control=false", "sae.seeds=1", "interventions.styles=[]"]


def stamps(root: Path) -> dict[str, dict[str, tuple[int, bytes]]]:
    """stage -> record -> (time of change, contents)."""
    return {
        stage: {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in (root / "done" / stage).rglob("*.json")}
        for stage in STAGES
    }


def finished(root: Path) -> dict[str, int]:
    return status(root)["done"]


def killed_in_every_stage(root: Path, launch, forks, settings: list[str], stages: list[str]) -> None:
    """A study made from nothing by runs that are killed, each once the first record of another stage is there."""
    command = ["run", CONFIG, "--root", str(root), *settings]
    for stage in stages:
        records = root / "done" / stage
        kill_nine_once(lambda at=records: list(at.rglob("*.json")), command, forks, f"{stage} never began")
    done = launch(*command)
    assert done.returncode == 0, done.stderr


def test_every_record_has_its_stages_hash_and_the_declared_tables(tiny_study):
    config = load_config(ROOT / CONFIG)
    study, hashes = Study(str(tiny_study), config, ""), stage_hashes(config)
    for stage in STAGES:
        units = records(tiny_study, stage)
        assert units == sorted(units_of(study, stage)), stage
        for unit in units:
            record = read_record(tiny_study, stage, unit)
            assert record["config_hash"] == hashes[stage]
            assert sorted(record["tables"]) == sorted(DECLARED[stage].tables), stage


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_stricter_masks_and_fewer_saes_redo_their_stages_and_give_the_tables_of_a_study_killed_in_every_stage(
    small, forks, launch, tmp_path
):
    before, tables = stamps(small), table_hashes(small)
    stricter, root = given(*SMALL, STRICTER), ["--root", str(small)]
    dry = launch("revise", CONFIG, *root, *stricter, "--dry-run")
    assert dry.returncode == 0 and "vision.mini.min_score: 0.5 -> 0.97" in dry.stdout
    assert re.search(r"segment +4 of 4 units", dry.stdout) and re.search(r"areas +4 of 4", dry.stdout)
    assert not re.search(r"(detect|train|collect) +\d", dry.stdout) and "nothing was changed" in dry.stdout
    assert stamps(small) == before and table_hashes(small) == tables

    refused = launch("run", CONFIG, *root, *stricter)
    assert refused.returncode == 2 and "run `concepts revise` to give this study the new settings" in refused.stderr

    assert launch("revise", CONFIG, *root, *stricter).returncode == 0
    assert stamps(small) == before and table_hashes(small) == tables  # nothing is redone or removed yet
    shown = launch("status", str(small)).stdout
    assert re.search(r"detect +4 / 4 +done", shown) and re.search(r"segment +0 / 4 +4 missing", shown)
    left = finished(small)
    redone = {stage for stage, count in expected_units(small).items() if count and not left[stage]}
    assert redone == {"segment", "areas", "label", "attend", "layout", "calibrate", "intervene", "effects", "draw"}
    history = yaml.safe_load((small / "study.yaml").read_text())["history"]
    assert history[0]["config"]["vision"]["mini"]["min_score"] == 0.5

    fewer = given(*SMALL, STRICTER, *FEWER[1:])
    assert launch("revise", CONFIG, *root, *fewer).returncode == 0
    done = launch("run", CONFIG, *root, *fewer)
    assert done.returncode == 0, done.stderr[-3000:]
    after = stamps(small)
    assert {stage for stage in STAGES if after[stage] == before[stage]} == {
        "plan",
        "collect",
        "tag",
        "detect",
        "locate",
    }
    assert finished(small) == expected_units(small)
    changed = {table for table, digest in table_hashes(small).items() if digest != tables[table]}
    assert {"segments", "label_cells"} <= changed and not {"tags", "boxes", "cell_colours"} & changed

    killed = tmp_path / "killed"
    having_units = [stage for stage, count in expected_units(small).items() if count]
    killed_in_every_stage(killed, launch, forks, fewer, having_units[1:-1])
    assert table_hashes(small) == table_hashes(killed) and verify(small) == verify(killed) == []
    weights = [sorted(str(p.relative_to(r)) for p in (r / "saes").rglob("*.safetensors")) for r in (small, killed)]
    assert weights[0] == weights[1]


@pytest.mark.faults
def test_a_bar_of_the_labels_touches_no_image_and_killed_runs_resume(small, launch, forks):
    before = stamps(small)
    settings = ["--root", str(small), *given(*SMALL, "labels.assign_iou=0.1")]
    assert launch("revise", CONFIG, *settings).returncode == 0

    def begun() -> bool:
        return stamps(small)["label"] != before["label"]

    kill_nine_once(begun, ["run", CONFIG, *settings], forks, "nothing was labelled")
    assert finished(small)["label"] < expected_units(small)["label"]
    assert launch("run", CONFIG, *settings).returncode == 0
    after = stamps(small)
    assert all(after[stage] == before[stage] for stage in ("collect", "train", "tag", "segment", "areas"))
    assert all(after[stage] != before[stage] for stage in ("label", "layout"))
    assert finished(small) == expected_units(small) and verify(small) == []


def test_back_again_is_the_study_it_was(copy, launch):
    tables = table_hashes(copy)
    assert launch("revise", CONFIG, "--root", str(copy), "--set", STRICTER).returncode == 0
    assert launch("revise", CONFIG, "--root", str(copy)).returncode == 0
    assert finished(copy) == expected_units(copy) and table_hashes(copy) == tables
    assert len(yaml.safe_load((copy / "study.yaml").read_text())["history"]) == 2
    done = launch("revise", CONFIG, "--root", str(copy))
    assert done.returncode == 0 and "nothing to revise" in done.stdout


@pytest.mark.parametrize("moment", [None, "study.revise._clear", "shutil.rmtree", "study.revise.end_revision"])
def test_what_has_no_unit_any_more_goes_though_the_revision_is_killed(copy, launch, monkeypatch, moment):
    settings = given(*FEWER)
    if moment:
        monkeypatch.setattr(moment, _killed)
        with pytest.raises(KeyboardInterrupt):
            _revise(copy, FEWER)
        monkeypatch.undo()
        refused = launch("run", CONFIG, "--root", str(copy), *settings)
        assert refused.returncode == 2 and "was interrupted: run the same `concepts revise` again" in refused.stderr
    assert launch("revise", CONFIG, "--root", str(copy), *settings).returncode == 0
    assert records(copy, "share") == [] and not list((copy / "tables" / "sae_metrics").glob("shared-*"))
    assert not [unit for stage in ("calibrate", "intervene") for unit in records(copy, stage) if "global" in unit]
    assert query(copy, "select distinct kind from interventions").to_pylist() == [{"kind": "spatial"}]
    assert not list((copy / "saes").rglob("checkpoint.json")) and not list((copy / "saes").rglob("seed1"))
    assert records(copy, "train") == [] and verify(copy) == []  # the old settings' weights are gone, so they are undone


def test_records_of_the_whole_configuration_are_carried_over(copy, launch):
    """Folders filled before stages had hashes of their own."""
    whole = yaml.safe_load((copy / "study.yaml").read_text())["config_hash"]
    for stage in STAGES:
        for unit in records(copy, stage):
            make_old(copy, stage, unit, config_hash=whole)
    assert finished(copy) == expected_units(copy)
    assert launch("revise", CONFIG, "--root", str(copy), "--set", "layout.bootstrap=101").returncode == 0
    counts, expected = finished(copy), expected_units(copy)
    assert {stage for stage in STAGES if counts[stage] != expected[stage]} == {"layout", "draw"}  # its figures, too


def test_stages_of_a_new_version_are_redone_by_a_revision(copy, launch, monkeypatch, capsys):
    """As if the folder had been made before ``layout`` and ``train`` came to compute otherwise."""
    tables, config, before = table_hashes(copy), [CONFIG, "--root", str(copy)], stamps(copy)
    for stage in ("layout", "train"):
        monkeypatch.setitem(DECLARED, stage, dataclasses.replace(DECLARED[stage], version=99))
    assert cli.main(["run", *config]) == 2
    assert "run `concepts revise` to redo train, layout as this version does" in capsys.readouterr().err
    assert cli.main(["revise", *config, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"layout: version \d -> 99", shown) and re.search(r"layout +4 of 4 units", shown)
    assert not re.search(r"(tag|segment) +\d", shown) and stamps(copy) == before
    assert cli.main(["revise", *config]) == 0
    assert yaml.safe_load((copy / "study.yaml").read_text())["stages"]["layout"] == 99
    assert not list((copy / "saes").rglob("checkpoint.json"))  # of another arithmetic: not to be resumed
    assert table_hashes(copy) == tables and stamps(copy)["tag"] == before["tag"]
    open_or_create(copy, load_config(ROOT / CONFIG))  # and is not refused any more
    monkeypatch.undo()
    refused = launch("run", *config)
    assert refused.returncode == 2 and "were made by a newer version of Concept Atlas" in refused.stderr


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sampling.steps=5", r"sampling.steps: 4 -> 5.*choose another --root"),
        ("prompts.shard_size=4", r"prompts.shard_size: 8 -> 4.*choose another --root"),
        ("sae.kk=1", r"unknown key 'sae.kk'"),
    ],
)
def test_what_cannot_be_revised_is_one_sentence(tiny_study, launch, override, says):
    before = (tiny_study / "study.yaml").read_bytes()
    done = launch("revise", CONFIG, "--root", str(tiny_study), "--set", override)
    assert done.returncode == 2 and re.search(says, done.stderr) and "Traceback" not in done.stderr
    assert (tiny_study / "study.yaml").read_bytes() == before


def test_a_folder_that_is_no_study_is_said(launch, tmp_path):
    done = launch("revise", CONFIG, "--root", str(tmp_path))
    assert done.returncode == 2 and "is not a study folder" in done.stderr


def _killed(*_arguments, **_options):
    raise KeyboardInterrupt


def _revise(root: Path, overrides: list[str]) -> None:
    from study import revise

    revise.revise(plan_revision(root, load_config(ROOT / CONFIG, overrides)))
