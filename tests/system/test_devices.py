"""A study whose units run side by side on devices by slot has the tables of one that runs as its settings say."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from storage.inspect import table_hashes
from storage.records import read_record, records
from storage.tables import part_path
from study import models
from study.opening import recorded_study
from study.stages import STAGES
from study.verify import verify
from tasks.units import make_units, works_of

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
