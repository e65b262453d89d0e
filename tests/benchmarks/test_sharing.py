"""The arithmetic of benchmarks/sharing.py, against figures counted by hand."""

from datetime import UTC, datetime

import pytest

from benchmarks.sharing import COMMANDS, STUDY, Cost, medians, ratios, span, tell
from study.config import load_config
from tests.paths import ROOT


def at(minute: int, second: int) -> datetime:
    return datetime(2026, 1, 1, 12, minute, second, tzinfo=UTC)


def test_the_work_of_two_lasts_from_the_first_beginning_to_the_last_end():
    rows = [{"started": at(0, 10), "ended": at(1, 30)}, {"started": at(0, 5), "ended": at(1, 20)}]
    assert span(rows) == 85.0 and span(rows[:1]) == 80.0 and span(iter(rows)) == 85.0


def test_the_ratios_are_how_many_times_as_fast_two_were_and_what_more_they_took():
    found = ratios(Cost(90.0, 76.0, 80.0), Cost(50.0, 40.0, 84.0))
    assert found == pytest.approx({"clock": 1.8, "work": 1.9, "processor": 1.05})


def test_what_is_told_are_ratios_of_medians(capsys):
    rounds = [
        {command: {1: Cost(clock, 2.0, 1.0), 2: Cost(10.0, 1.0, 1.0), 8: Cost(3.0, 0.5, 1.5)} for command in COMMANDS}
        for clock in (18.0, 40.0, 17.0)
    ]
    assert medians(costs["label"][1] for costs in rounds) == Cost(18.0, 2.0, 1.0)
    tell("median of 3", rounds)
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "median of 3, collect clock    : one    18.0 s, 2    10.0 s: 1.80"
    assert [line.rsplit(": ", 1)[1] for line in said] == ["1.80", "2.00", "1.00", "6.00", "4.00", "1.50"] * 2


def test_the_study_that_is_timed_has_many_more_units_than_processes():
    config = load_config(ROOT / "configs" / "mini.yaml", list(STUDY))
    assert sum(config.prompts.sizes.values()) // config.prompts.shard_size == 12 and len(config.sites_list()) == 12
