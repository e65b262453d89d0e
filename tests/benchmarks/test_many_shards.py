"""The synthetic study of many shards is one that the commands take for collected and segmented."""

import os

from benchmarks.many_shards import fill, settings, to_do
from storage.study import create_study
from study.hashes import ADDED
from study.opening import study_as
from study.provenance import provenance_of
from study.stages import STAGES
from study.status import status
from study.undone import undone


def test_its_shards_are_done_and_everything_else_is_not(tmp_path, monkeypatch):
    config = settings(tmp_path, 20)
    plain = config.model_dump(mode="json")
    create_study(tmp_path / "study", plain, provenance_of({}, 1), ADDED)
    study = study_as(tmp_path / "study", config, plain)
    before = to_do(study)
    monkeypatch.setattr(os, "fsync", os.fsync)  # given back at the end: filling takes it away
    fill(study)
    made = {stage: len(STAGES[stage].units(study)) for stage in ("collect", "tag", "detect", "segment", "areas")}
    assert made == {"collect": 20, "tag": 4, "detect": 4, "segment": 4, "areas": 4}
    assert not any(undone(study, STAGES[stage], list(STAGES[stage].units(study))) for stage in made)
    assert before - to_do(study) == 36
    told = status(tmp_path / "study")
    assert {stage: told["done"][stage] for stage in made} == made and told["tables"]["images"]["parts"] == 20
