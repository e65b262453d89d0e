"""Units side by side on devices by slot give the tables of one device; which units need a device, and which do not."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from diffusion.errors import DiffusionError
from flows.common import opened
from storage.inspect import table_hashes
from storage.records import read_record, records
from storage.tables import part_path
from study import models
from study.opening import recorded_study
from study.publish import forget
from study.slots import placed
from study.stages import COMMANDS, OPTIONAL, STAGES, needs_device
from study.verify import verify
from tasks.bench import record_truth
from tasks.units import make_units, named, works_of
from tests.paths import ROOT

pytestmark = pytest.mark.system
AGAIN = ("collect", "tag", "detect", "segment")  # training outside of a flow would start a server


def test_two_slots_give_the_tables_of_none(small_study, small, monkeypatch):
    monkeypatch.setattr(models, "_idle", {})
    recorded = recorded_study(small)
    run = recorded.config.run.model_copy(update={"devices": ("cpu", "cpu")})
    study = replace(recorded, config=recorded.config.model_copy(update={"run": run}))
    sums = {unit: read_record(small, "collect", unit)["checksums"] for unit in records(small, "collect")}
    for stage in AGAIN:
        for unit in records(small, stage):
            for table in STAGES[stage].tables:
                part_path(small, table, STAGES[stage].part(unit)).unlink()
        shutil.rmtree(small / "done" / stage)
    for stage in AGAIN:
        works = works_of(study, STAGES[stage])
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda work: make_units.fn(study, work), works))
    (settings,) = models._idle
    assert settings.device == "cpu" and recorded.config.model.device == "auto"
    assert len(models._idle[settings]) == 2  # one a slot
    assert sums == {unit: read_record(small, "collect", unit)["checksums"] for unit in records(small, "collect")}
    ours, theirs = table_hashes(small), table_hashes(small_study)
    for stage in AGAIN:
        assert STAGES[stage].tables and all(ours[table] == theirs[table] for table in STAGES[stage].tables)
    assert verify(small) == []


# Of stages that the tiny study does not ask for: what their work is given.
GIVEN = {"attend": {"shard": 1}, "locate": {"kind": "global"}}
DEVICE = "cuda:99"


@pytest.fixture
def elsewhere(copy):
    """The tiny study on a device that no machine has."""
    recorded = recorded_study(copy)
    return replace(recorded, config=placed(recorded.config, DEVICE), recorded=recorded.identity)


ON_CPU = [name for name, stage in STAGES.items() if stage.on_cpu]


def test_stages_on_processors_are_made_where_the_device_is_not(elsewhere, copy):
    before = table_hashes(copy)
    made = [name for name in ON_CPU if STAGES[name].command in COMMANDS]
    assert made == ["areas", "effects", "draw"]
    for name in made:
        for work in works_of(elsewhere, STAGES[name]):
            for unit in work.units:
                forget(elsewhere, name, unit)
            make_units.fn(elsewhere, work)
        assert records(copy, name)
    assert table_hashes(copy) == before and verify(copy) == []


# The miniature's vision has no device; other models have the one that these stages read as a setting.
OF_VISION = ["tag", "detect", "segment"]


@pytest.mark.parametrize("name", [name for name in STAGES if name not in (*ON_CPU, *OF_VISION, "bench")])
def test_all_other_stages_ask_for_the_device(elsewhere, name):
    given = GIVEN.get(name) or works_of(elsewhere, STAGES[name])[0].given
    forget(elsewhere, name, "prompts")  # of the plan, which else reads what is there
    with pytest.raises(DiffusionError, match=f"model.device '{DEVICE}' cannot be used"):
        named(STAGES[name].work)(elsewhere, **given)


def test_the_bench_asks_for_the_device_and_vision_for_its_own(elsewhere):
    with pytest.raises(DiffusionError, match=f"model.device '{DEVICE}' cannot be used"):
        record_truth(elsewhere, None, 0.5, "cond")  # its first act with images of known truth
    reading = {name for name, stage in STAGES.items() if "vision.transformers.device" in stage.reads}
    assert set(OF_VISION) <= reading and not reading & set(ON_CPU)


def test_commands_need_a_device_if_one_of_their_stages_does():
    assert [name for name in (*COMMANDS, *OPTIONAL, "bench", "run") if not needs_device(name)] == ["figures"]


def test_a_command_on_processors_begins_where_the_named_devices_are_not(copy):
    given = (str(ROOT / "configs" / "tiny.yaml"), str(copy), [f"run.devices=[{DEVICE}]", "run.max_workers=1"])
    with opened(*given, "figures") as study:
        assert study.config.run.devices == (DEVICE,)
    with pytest.raises(DiffusionError, match=f"run.devices '{DEVICE}' cannot be used"), opened(*given, "label"):
        pass
