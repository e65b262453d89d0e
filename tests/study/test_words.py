"""Units, what came of them and times in words."""

import math

import pytest

from storage.site import Site
from study.config import load_config
from study.stages import STAGES
from study.study import Study
from study.units import PlannedEdit
from study.words import duration, figures_words, sensible, unit_words
from tasks.units import works_of
from tests.paths import ROOT


@pytest.mark.parametrize(
    ("units", "given", "words"),
    [
        (["mid/0.50/cond/k4", "mid/0.50/cond/k8"], {"site": Site("mid", 0.5, "cond")}, "mid t=0.50 cond"),
        (["mid/0.50/cond/k10"], {"site": ("mid", 0.5, "cond"), "k": 10}, "mid t=0.50 cond k=10"),
        (["00003"], {"shard": 3}, "shard 3"),
        (["mid/cond/k4"], {"block": "mid", "conditioning": "cond", "k": 4}, "mid cond k=4"),
        (["spatial-tree-early"], {"edit": PlannedEdit("spatial", "tree", "early")}, "spatial tree early"),
        (["0.50/cond"], {"t": 0.5, "conditioning": "cond", "inputs": object()}, "t=0.50 cond"),
        (["prompts"], {}, "prompts"),
        (["all"], {}, ""),
    ],
)
def test_a_unit_is_named_by_what_its_work_is_given(units, given, words):
    assert unit_words(units, given) == words


def test_every_piece_of_work_of_a_study_has_a_name_of_its_own_in_plain_words(tmp_path):
    study = Study(str(tmp_path), load_config(ROOT / "configs" / "mini.yaml"), "hash")
    names = [work.name for stage in STAGES.values() for work in works_of(study, stage)]
    assert len(names) == len(set(names)) > 100
    assert [name for name in names if set(name) & set("/()'{}[]")] == []
    assert {"plan prompts", "draw", "effects", "collect shard 0"} <= set(names)
    # One piece of work trains the SAEs of a site for every k.
    assert len([name for name in names if name.startswith("train ")]) == len(study.config.sites_list())


def test_figures_leave_out_what_the_name_says_and_what_is_not_known():
    made = {"block": "mid", "t": 1.0, "k": 4, "assigned": 12, "strength": 4.0, "cautions": ["a", "b"], "gap": None}
    assert figures_words(made) == "assigned 12, strength 4, cautions 2"
    assert figures_words({"vectors_per_s": 1234567.8, "loss": 0.000123456}) == "vectors per s 1234568, loss 0.0001235"
    assert figures_words(None) == figures_words({}) == figures_words("text") == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (0.0042, "0.0042 s"), (4.21, "4.2 s"), (9.96, "10 s"), (59.7, "1 min"), (200, "3 min 20 s"),
     (3599.6, "1 h"), (7512, "2 h 5 min"), (273600, "3 d 4 h")],
)  # fmt: skip
def test_times_are_told_in_the_units_that_suit_them(seconds, words):
    assert duration(seconds) == words


def test_numbers_are_rounded_to_four_digits_and_counts_are_kept():
    assert [sensible(v) for v in (0.123456, 12.3456, 1234.56, -0.00123456)] == [0.1235, 12.35, 1235, -0.001235]
    assert sensible(123456789) == 123456789 and sensible("0.123456") == "0.123456" and sensible(None) is None
    assert math.isnan(sensible(math.nan)) and sensible(math.inf) == math.inf
