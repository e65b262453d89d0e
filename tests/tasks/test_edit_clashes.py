"""Which parts of an edit contradict each other, and which only stand side by side."""

import re

import numpy as np
import pytest

from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks.edit_clashes import refuse_clashes
from tasks.edit_request import request_of
from tasks.edit_terms import PartPlan, SitePlan
from tests.paths import ROOT

TREE = {"concept": "tree", "window": "early"}


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", []), "hash")


WINDOWS = ((0.6, 1.0, 1.0), (0.3, 0.8, 1.0))


def clashing(study, one, other, shares=None, cids=((2, 7), (7, 9)), windows=WINDOWS, blocks=("mid", "mid")):
    """Ask of two parts, each at one block."""
    request = request_of(prompt="a tree", parts=[TREE | {"strength": 2.0} | one, TREE | {"strength": 3.0} | other])
    parts = []
    for number, part in enumerate(request.planned):
        here = study.at((blocks[number], windows[number][2], "cond"), 4)
        at = SitePlan(here, cids[number], (4,) if part.acts == "replace" else (), (), 5.0, None)
        parts.append(PartPlan(part, windows[number], None if shares is None else shares[number], (at,)))
    refuse_clashes(tuple(parts), 4)


LEFT, TOP = np.zeros((8, 8)), np.zeros((8, 8))
LEFT[:, :4] = TOP[:4] = 1.0
WHOLE, EARLY = (0.0, 1.0, 1.0), (0.6, 1.0, 1.0)
AGREE = {
    "both put in": ({}, {}, {}),
    "at other times": ({}, {"operation": "ablate"}, {"windows": ((0.6, 1.0, 1.0), (0.0, 0.6, 1.0))}),
    "at other blocks": ({}, {"operation": "ablate"}, {"blocks": ("mid", "up")}),
    "in other places": ({"operation": "add"}, {"operation": "ablate"}, {"shares": (LEFT, 1 - LEFT)}),
    "of other concepts": ({}, {"operation": "ablate", "concept": "house"}, {"cids": ((2,), (3,))}),
    "of other dictionaries": (
        {},
        {"operation": "ablate", "concept": "house"},
        {"windows": (EARLY, (0.0, 1.0, 0.0))},
    ),
    "at nothing's strength": ({}, {"operation": "ablate", "strength": 0.0}, {}),
    "by schedule": ({"schedule": "1:0"}, {"operation": "ablate"}, {"windows": (WHOLE, EARLY)}),
    "twice pushed away": ({"strength": -2.0}, {"operation": "ablate"}, {}),
}
CLASH = {
    "added and ablated": (
        {},
        {"operation": "ablate"},
        {},
        "'tree' is put in by one and taken away by the other at mid",
    ),
    "added and pushed away": ({}, {"strength": -1.0}, {}, "'tree' is put in"),
    "added where place clears": (
        {"operation": "place", "region": "left"},
        {"operation": "add", "region": "right"},
        {"shares": (LEFT, 1 - LEFT)},
        "parts 1 and 2 contradict each other: 'tree'",
    ),
    "in a corner": ({"operation": "add"}, {"operation": "ablate"}, {"shares": (LEFT, TOP)}, "'tree' is put in"),
    "of one number": ({}, {"operation": "ablate", "concept": "house"}, {}, "concept 7 is put in by one"),
    "clamped and replaced": (
        {"operation": "clamp", "concept": "house"},
        {"operation": "replace", "instead_of": "house", "concept": "dog"},
        {"cids": ((1,), (9,))},
        "'house' is put in",
    ),
    "of one label in two dictionaries": ({}, {"operation": "ablate"}, {"windows": (EARLY, (0.0, 1.0, 0.0))}, "'tree'"),
    "by schedule": ({"schedule": "1:1,0.5:-1"}, {}, {"windows": (WHOLE, (0.3, 0.4, 1.0))}, "t = 0.33"),
}


@pytest.mark.parametrize(("one", "other", "more"), AGREE.values(), ids=AGREE)
def test_parts_that_never_meet_do_not_contradict_each_other(study, one, other, more):
    clashing(study, one, other, **more)


@pytest.mark.parametrize(("one", "other", "more", "says"), CLASH.values(), ids=CLASH)
def test_one_part_may_not_put_in_what_another_takes_away(study, one, other, more, says):
    with pytest.raises(StudyError, match=re.escape(says)):
        clashing(study, one, other, **more)
