"""What every flow does before and after its units: a study is opened once a run, stages are chained unit by unit."""

import pytest

from flows import common
from flows.common import opened
from study.stages import stages_of
from tests.paths import ROOT

TINY = str(ROOT / "configs" / "tiny.yaml")


def test_a_study_is_read_once_by_a_run_and_all_that_runs_within(tmp_path, monkeypatch):
    calls = []
    original = common.open_or_create
    monkeypatch.setattr(common, "open_or_create", lambda *given: calls.append(given) or original(*given))
    root = str(tmp_path / "study")
    with opened(TINY, root, None) as whole, opened(TINY, root, []) as within:
        assert within is whole and len(calls) == 1
        with opened(TINY, str(tmp_path / "other"), []) as other:
            assert other is not whole and len(calls) == 2
    with opened(TINY, root, None):
        assert len(calls) == 3


def test_an_error_leaves_nothing_open(tmp_path):
    root = str(tmp_path / "study")
    for _ in range(2):
        with pytest.raises(KeyError), opened(TINY, root, None):
            {}["x"]
        assert common._opened == {}


def test_only_stages_that_follow_each_other_shard_by_shard_are_chained():
    chains = {command: [[s.name for s in chain] for chain in common._chained(stages_of(command))]
              for command in ("collect", "train", "label", "intervene")}  # fmt: skip
    assert chains == {
        "collect": [["plan"], ["collect"]],
        "train": [["train"], ["share"], ["match"]],
        "label": [["tag", "detect", "segment", "areas"], ["label"]],
        "intervene": [["locate"], ["calibrate"], ["intervene"], ["effects"]],
    }
