"""Whatever happens to a file of a study is found, with its unit; a repair forgets that unit and what followed."""

import itertools
import json
import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.activations import ActivationStore
from storage.publish import publish_run, publish_unit
from storage.records import forget_record, record_path, write_record
from storage.store_metadata import document_files
from storage.tables import parts
from study.config import load_config
from study.errors import StudyError
from study.hashes import ADDED, stage_versions
from study.links import Links
from study.publish import publish, told_prompts
from study.repair import plan_repair, repair
from study.stages import STAGES, stages_of
from study.study import Study
from study.verify import inspect_study, verify
from tests.parts import make_old, open_study
from tests.paths import ROOT

RUN = "{}-38652016-3e4d-41a4-918d-65d054c5e4d4"
SHAPE = (2, 2, 3)


def prompt(i: int) -> dict:
    return {"prompt_id": i, "caption": f"a tree {i}", "split": "train", "source_file": "", "source_row": i,
            "n_tokens": 3, "seed": i}  # fmt: skip


MADE = [stage.name for stage in stages_of("run") if stage.name != "plan"]


def fill(root: Path) -> None:
    """A finished study whose parts, weights and figures are stand-ins: what is checked is what records say of them."""
    splits = "prompts.splits={train: 2, dictionary: 2, layout: 2, style: 2}"
    config = load_config(ROOT / "configs" / "tiny.yaml", [splits, "prompts.shard_size=2"])
    settings = config.model_dump(mode="json")
    study = Study(str(root), config, open_study(root, settings, {"stages": stage_versions()}, added=ADDED))
    store = ActivationStore.create(root, dict.fromkeys(config.sites_list(), SHAPE), 8, 2)
    files = document_files(root, store.facts)
    publish(study, "plan", "prompts", {"prompts": [prompt(i) for i in range(8)]},
            {"store": store.facts.attributes()}, files)  # fmt: skip
    for stage, units in Links(study).units.items():
        for unit in units if stage in MADE else ():
            extra, files = ({"figures": ["a"]} if stage == "draw" else {}), []
            if stage == "collect":
                data = np.ones((2, *SHAPE), np.float16)
                extra = {"checksums": {s.path: store.write_shard(s, int(unit), data) for s in store.sites}}
                extra["prompts"] = told_prompts(pa.Table.from_pylist([prompt(2 * int(unit) + i) for i in (0, 1)]))
            if stage in ("train", "share"):
                folder = root / "saes" / (unit if stage == "train" else unit.replace("/", "/shared/"))
                for name in ("sae_weights.safetensors", "cfg.json", "log.jsonl"):
                    files.append(folder / name)
                    files[-1].parent.mkdir(parents=True, exist_ok=True)
                    files[-1].write_text(f"{unit} {name}")
            tables = {table: [] for table in STAGES[stage].tables}
            publish(study, stage, unit, tables, extra, files)
    for stage in ("collect", "train", "label", "layout", "intervene", "figures"):
        about = {"stage": stage, "started": 0, "ended": 1, "git_sha": None, "versions": "{}"}
        publish_run(root, RUN.format(stage), {**about, "run_id": RUN.format("")[1:], "config_hash": study.config_hash})
    (root / "figures").mkdir()
    (root / "figures" / "a.png").write_bytes(b"png")
    publish_unit(root, "figures", "a", {}, "a", study.config_hash, [root / "figures" / "a.png"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("study") / "k=99"
    fill(root)
    return root


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def everything(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def looped(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("not ours")


HARMS = {"flipped": flipped, "cut": cut, "emptied": lambda p: p.write_bytes(b""), "gone": Path.unlink,
         "looped": looped, "a folder": a_folder}  # fmt: skip


def test_a_finished_study_is_whole_and_nothing_in_it_is_foreign(whole):
    report = inspect_study(whole)
    assert (report.damage, report.foreign, report.left_over) == ([], [], [])


def harmed(names: list[str], harm: str) -> list[str]:
    """Of every kind of file the first, which is harmed in each way; of the others each is harmed in one way."""
    turn, first, kinds = list(HARMS).index(harm), [], set()
    for name in names:
        kind = re.sub(r"\b(mid|up|early|final|spatial|global|[\d.]+)\b", "*", name)
        first += [] if kind in kinds else [name]
        kinds.add(kind)
    others = [name for name in names if name not in first]
    return first + others[turn :: len(HARMS)]


def test_every_kind_of_file_is_harmed_in_every_way_and_every_file_in_one(whole):
    names = everything(whole)
    ways = [set(harmed(names, harm)) for harm in HARMS]
    assert set.union(*ways) == set(names) and {name.split("/")[0] for name in set.intersection(*ways)} == {
        name.split("/")[0] for name in names
    }


@pytest.mark.slow
@pytest.mark.parametrize("harm", HARMS)
def test_every_harm_to_every_kind_of_file_is_found_with_its_unit(whole, copy, harm):
    for name in harmed(everything(whole), harm):
        HARMS[harm](copy / name)
        found = inspect_study(copy)
        named = [damage for damage in found.damage if damage.path == name]
        assert len(named) == 1 and (named[0].units or name == "study.yaml"), (name, found.damage)
        if (copy / name).is_dir():
            shutil.rmtree(copy / name)
        else:
            (copy / name).unlink(missing_ok=True)
        shutil.copy2(whole / name, copy / name)
    assert verify(copy) == []


@pytest.mark.parametrize("stage", [stage.name for stage in stages_of("run")])
def test_a_unit_lost_with_its_record_is_missed(whole, copy, stage):
    unit = list(Links(inspect_study(copy).study).units[stage])
    if not unit:
        pytest.skip("the tiny study has no such unit")
    record = json.loads(record_path(copy, stage, unit[0]).read_text())
    for table, facts in record["tables"].items():
        (copy / "tables" / table / f"{facts['part']}.parquet").unlink()
    forget_record(copy, stage, unit[0])
    found = inspect_study(copy).damage
    assert [(d.path, d.units) for d in found] == [(f"done/{stage}/{unit[0]}.json", ((stage, unit[0]),))]
    assert "is missing, though" in found[0].what


def test_what_is_not_ours_is_named_and_no_damage(copy):
    part = parts(copy, "tags")[0]
    strays = ["notes.txt", "tables/tags/._000001.parquet", "tables/tags/x-conflict.parquet", ".DS_Store",
              "activations.zarr/.DS_Store", "saes/notes.txt", "tables/other/a.parquet", "done/.DS_Store"]  # fmt: skip
    for stray in strays:
        (copy / stray).parent.mkdir(exist_ok=True)
        shutil.copy(part, copy / stray)
    (copy / "linked").symlink_to("/")
    report = inspect_study(copy)
    assert report.damage == [] and sorted(report.foreign) == sorted([*strays, "linked"])
    before = everything(copy)
    repair(copy, plan_repair(copy))
    assert everything(copy) == before


def test_scratch_files_and_unfinished_units_are_left_over(copy):
    for name in ("tables/tags/.000001.parquet.123.tmp", "done/tag/.000001.json.7.tmp"):
        (copy / name).write_text("half")
    publish_order = ("draw", "effects", "intervene", "calibrate", "layout")
    links = Links(inspect_study(copy).study)
    for stage in publish_order:
        for unit in links.units[stage]:
            forget_record(copy, stage, unit)
    forget_record(copy, "figures", "a")
    for name in (RUN.format("intervene"), RUN.format("layout"), RUN.format("figures")):
        forget_record(copy, "runs", name)
        (copy / "tables" / "runs" / f"{name}.parquet").unlink()
    report = inspect_study(copy)
    assert report.damage == [] and report.foreign == []
    assert "tables/tags/.000001.parquet.123.tmp" in report.left_over and "figures/a.png" in report.left_over


def forgotten(root: Path) -> dict[str, set[str]]:
    plan = plan_repair(root)
    repair(root, plan)
    found: dict[str, set[str]] = {}
    for stage, unit in plan.forgotten:
        found.setdefault(stage, set()).add(unit)
        assert stage == "runs" or not record_path(root, stage, unit).exists()
    return found


def units(root: Path, *stages: str) -> dict[str, set[str]]:
    links = Links(inspect_study(root).study)
    return {stage: set(links.units[stage]) for stage in stages if links.units[stage]}


EDITS = ("calibrate", "intervene", "effects", "draw")


def test_a_repair_forgets_a_unit_and_what_was_made_from_it(copy):
    flipped(copy / "tables" / "tags" / "000002.parquet")  # of the layout split: no label is made from it
    steps = {stage: {"000002"} for stage in ("tag", "detect", "segment", "areas", "attend")}
    assert forgotten(copy) == steps | units(copy, "layout", "draw")


def test_a_dictionarys_weights_undo_its_own_labels_and_the_edits(copy):
    flipped(copy / "saes" / "mid" / "1.00" / "cond" / "k4" / "sae_weights.safetensors")
    here = "mid/1.00/cond/k4"
    own = {"train": {here}, "match": {"mid/cond/k4"}, "label": {here}, "layout": {here}}
    assert forgotten(copy) == own | units(copy, *EDITS)


def test_an_image_of_the_edits_split_undoes_the_edits_alone(copy):
    flipped(copy / "tables" / "images" / "000003.parquet")
    assert forgotten(copy) == {"collect": {"000003"}} | units(copy, "intervene", "effects", "draw")


def test_a_picture_is_drawn_again_alone(copy):
    flipped(copy / "figures" / "a.png")
    assert forgotten(copy) == {"figures": {"a"}, "draw": {"all"}}


def test_a_dry_run_changes_nothing(copy):
    flipped(copy / "tables" / "tags" / "000002.parquet")
    before = {name: (copy / name).read_bytes() for name in everything(copy)}
    assert any("000002" in line for line in plan_repair(copy).told())
    assert {name: (copy / name).read_bytes() for name in everything(copy)} == before


def test_metadata_of_the_store_are_written_anew_beside_its_shards(copy):
    names = [name for name in everything(copy) if name.endswith("zarr.json")]
    before = {name: (copy / name).read_bytes() for name in everything(copy)}
    for name in names:
        (copy / name).unlink()
    assert forgotten(copy) == {} and verify(copy) == []
    assert {name: (copy / name).read_bytes() for name in everything(copy)} == before


PLANNED = ("done/plan/prompts.json", "tables/prompts/prompts.parquet", "activations.zarr/zarr.json",
           "activations.zarr/mid/0.00/cond/zarr.json", "done/collect/000000.json")  # fmt: skip


def left_to_run(root: Path) -> set[tuple[str, str]]:
    """The units that a repaired study still lacks, as others or its runs tell: no other damage is left."""
    left = inspect_study(root).damage
    assert all("is missing, though" in str(damage) for damage in left), left
    return {unit for damage in left for unit in damage.units}


@pytest.fixture(autouse=True)
def shapes_of_the_model(monkeypatch):
    """What the model would tell of its blocks, if nothing in the folder did any more."""
    monkeypatch.setattr("study.repair.measured_shapes", lambda study: dict.fromkeys(study.config.sites.blocks, SHAPE))


@pytest.mark.parametrize("together", [c for n in (2, 3, 5) for c in itertools.combinations(PLANNED, n)])
@pytest.mark.parametrize("harm", ["flipped", "emptied", "gone"])
def test_whatever_of_a_plan_is_damaged_together_is_repaired(copy, together, harm):
    """What can still be told is recorded anew; what cannot is forgotten, and made again."""
    for name in together:
        HARMS[harm](copy / name)
    plan = plan_repair(copy)
    repair(copy, plan)
    assert left_to_run(copy) <= set(plan.forgotten)
    store = ActivationStore.open(copy)
    assert all((store.read(site, 0, 8) == 1).all() for site in store.sites)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), count=st.integers(2, 12))
@pytest.mark.slow
def test_whatever_is_damaged_together_a_repair_ends_it_or_says_why(whole, tmp_path, seed, count):
    root, chance = Path(shutil.copytree(whole, tmp_path / f"{seed}-{count}", dirs_exist_ok=True)), random.Random(seed)
    for name in chance.sample(everything(root), count):
        HARMS[chance.choice(("flipped", "cut", "emptied", "gone"))](root / name)
    try:
        plan = plan_repair(root)
        repair(root, plan)
    except StudyError as error:
        reason = str(error)
    else:
        reason = ""
    assert "cannot be restored" in reason if reason else left_to_run(root) <= set(plan.forgotten)
    shutil.rmtree(root)


@pytest.mark.parametrize("more", [(), ("activations.zarr/zarr.json",)])
def test_a_plan_whose_rows_others_vouch_for_is_written_to_the_same_bytes(copy, more):
    """Its record is lost, and of its part what no row hangs on is damaged: here who wrote it."""
    record, part = copy / "done" / "plan" / "prompts.json", copy / "tables" / "prompts" / "prompts.parquet"
    before = record.read_bytes(), part.read_bytes()
    assert before[1].count(b"parquet-cpp-arrow") == 1
    part.write_bytes(before[1].replace(b"parquet-cpp-arrow", b"parquet-cpp-arrOw"))
    for name in more:
        (copy / name).unlink()
    record.unlink()
    assert forgotten(copy) == {} and verify(copy) == []
    assert json.loads(record.read_bytes())["tables"] == json.loads(before[0])["tables"]
    assert part.read_bytes() == before[1]


def test_study_yaml_is_restored_from_its_copy(copy):
    path, kept = copy / "study.yaml", copy / "done" / "study" / "settings.json"
    whole, record = path.read_bytes(), kept.read_bytes()
    harms = (whole.replace(b"seed: 0", b"seed: 1", 1), b"\x00", whole[: len(whole) // 3], b"[" * 5000, b"", None)
    for harm in harms:
        path.write_bytes(harm) if harm is not None else path.unlink()
        assert verify(copy) == ["study.yaml is missing" if harm is None else "study.yaml is damaged"]
        plan = plan_repair(copy)
        repair(copy, plan)
        assert path.read_bytes() == whole and plan.forgotten == [] and verify(copy) == []
    for harm in (flipped, Path.unlink):
        harm(kept)
        assert [d.units for d in inspect_study(copy).damage] == [(("study", "settings"),)]
        repair(copy, plan_repair(copy))
        assert kept.read_bytes() == record and verify(copy) == []
    flipped(path)
    flipped(kept)
    assert len(verify(copy)) == 2
    with pytest.raises(StudyError, match=r"cannot be restored, .*: move .* away and run `concepts run CONFIG"):
        plan_repair(copy)


def test_what_stands_in_the_way_of_a_file_is_moved_aside(copy):
    part = copy / "tables" / "tags" / "000002.parquet"
    a_folder(part)
    shutil.rmtree(copy / "tables" / "boxes")
    (copy / "tables" / "boxes").write_text("a file where the table's folder was")
    assert forgotten(copy)["detect"] == {f"00000{i}" for i in (1, 2)}
    assert (part.with_name("000002.parquet.aside") / "inside").read_text() == "not ours" and not part.exists()
    assert (copy / "tables" / "boxes.aside").is_file() and not (copy / "tables" / "boxes").exists()


def test_a_named_unit_is_forgotten_though_its_files_are_whole(copy):
    plan = plan_repair(copy, ["tag/000002"])
    assert plan.damaged == [("tag", "000002")] and ("areas", "000002") in plan.forgotten
    with pytest.raises(StudyError, match="has no unit 'tag/9': name one as `concepts verify` does"):
        plan_repair(copy, ["tag/9"])


def test_a_row_of_runs_is_recorded_again_if_its_part_is_whole(copy):
    name = RUN.format("train")
    flipped(record_path(copy, "runs", name))
    repair(copy, plan_repair(copy))
    assert verify(copy) == [] and record_path(copy, "runs", name).exists()
    flipped(copy / "tables" / "runs" / f"{name}.parquet")
    repair(copy, plan_repair(copy))
    assert verify(copy) == [] and not record_path(copy, "runs", name).exists()


def test_records_of_the_first_format_are_checked_as_far_as_they_tell(copy):
    for stage, unit in inspect_study(copy).records:
        if stage != "runs":
            make_old(copy, stage, unit)
    assert verify(copy) == []
    flipped(parts(copy, "tags")[0])
    (copy / "activations.zarr" / "zarr.json").unlink()
    assert [d.path for d in inspect_study(copy).damage] == ["activations.zarr", "tables/tags/000001.parquet"]
    write_record(copy, "tag", "000002", {"tables": {"tags": "nonsense"}}, "h")
    record_path(copy, "detect", "000001").write_text('{"tables": [], "weights": 3}')
    assert len(verify(copy)) >= 3  # and no exception


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_damage(copy):
    (copy / "figures" / "a.png").chmod(0)
    assert "is unreadable" in verify(copy)[0]
