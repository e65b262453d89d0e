"""What other captions ask for, and the interventions by which a block is traced."""

from pathlib import Path

import pytest

from concepts.cases import Case
from diffusion.edits import Patch, Switch
from study.config import load_config
from study.study import Study
from tasks import trace
from tasks.trace import Pair, Tracer, pairs_of, renamed
from tests.paths import ROOT

SETTINGS = ["interventions.objects=[tree, boat]", "interventions.styles=[night, sepia]", "atlas.trace_prompts=2"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", SETTINGS), "hash")


def test_one_object_takes_anothers_place():
    assert renamed("a red Boat and a boat on the water", "boat", "tree") == "a red tree and a boat on the water"
    assert renamed("two boats", "boat", "tree") == "two trees"
    assert renamed("a lifeboat", "boat", "tree") == "a lifeboat"


def test_every_target_has_the_first_prompts(study, monkeypatch):
    cases = [(o, Case(i, f"a {o} {i}", i, "everywhere")) for i, o in enumerate(["tree", "boat", "tree", "tree"])]
    monkeypatch.setattr(trace, "fitting_cases", lambda study, kind: iter(cases))
    looks = pairs_of(study, "global")
    assert [(p.target, p.case.prompt_id, p.other) for p in looks] == [
        ("night", 0, "a tree 0, night"),
        ("night", 1, "a boat 1, night"),
        ("sepia", 0, "a tree 0, sepia"),
        ("sepia", 1, "a boat 1, sepia"),
    ]
    assert [(p.target, p.case.prompt_id, p.other) for p in pairs_of(study, "spatial")] == [
        ("boat", 0, "a boat 0"),
        ("boat", 2, "a boat 2"),
        ("tree", 1, "a tree 1"),
    ]


@pytest.mark.parametrize("method", ["switch", "patch"])
def test_a_set_of_blocks_is_traced_by_an_intervention_of_each(study, method):
    tracer = Tracer.__new__(Tracer)
    tracer.method = method
    pairs = [Pair(Case(i, "a tree", i, "everywhere"), "a boat", "boat") for i in range(3)]
    made = list(tracer._interventions(("x", "y"), 0.2, 0.6, pairs))
    assert [(one.module, one.t_low, one.t_high, one.images) for one in made] == [
        (block, 0.2, 0.6, (0, 1, 2)) for block in ("x", "y")
    ]
    for one in made:
        if method == "switch":
            assert isinstance(one, Switch) and one.captions == ("a boat",) * 3
        else:
            assert isinstance(one, Patch) and one.sources == (3, 4, 5) and one.half == "cond" and one.share is None
