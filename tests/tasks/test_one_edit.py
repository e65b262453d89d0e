"""The arithmetic of one edit, by a plain loop over positions, and what a request may not ask for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from concepts.interventions import random_direction
from sae.model import TopKSAE
from storage.prompts import hashed_seed
from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks.edit_plan import EditPlan, SitePlan, window_of
from tasks.edit_request import number_of, request_of
from tasks.one_edit import SiteChange, inside_of
from tests.paths import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"
D, M, UNIT, SIDE = 6, 12, 5.0, 4
CIDS, INSTEAD, LEVELS = (2, 7), (4,), (3.0, 1.5)


@pytest.fixture(autouse=True)
def as_while_sampling():
    with torch.inference_mode():
        yield


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(CONFIG, []), "hash")


def asked(**more):
    return request_of(**({"prompt": "a tree", "concept": "tree", "window": "early", "strength": 2.0} | more))


@pytest.fixture(scope="module")
def sae():
    made, draw = TopKSAE(D, M, 5), torch.Generator().manual_seed(1)
    with torch.no_grad():
        made.W_enc.copy_(torch.randn(D, M, generator=draw))
        made.W_dec.copy_(torch.nn.functional.normalize(torch.randn(M, D, generator=draw), dim=1))
        made.b_dec.copy_(torch.randn(D, generator=draw))
    return made


def change_of(study, sae, request, share=None):
    at = SitePlan(study.at(("mid", 1.0, "cond"), 4), CIDS, INSTEAD, LEVELS, UNIT, None)
    plan = EditPlan(request, 3, (0.6, 1.0, 1.0), share, (at,), None, "name", ())
    return SiteChange(plan, at, sae)


def by_hand(sae, request, delta, share, control):
    """One position at a time, in numpy: what the edit is defined to leave there."""
    vectors = sae.W_dec.detach().numpy().astype(float)
    direction = vectors[list(CIDS)].sum(0)
    direction /= np.linalg.norm(direction)
    random = random_direction(D, hashed_seed(0, "edit", "mid", "cond", 3)).numpy().astype(float)
    left = delta.astype(float).copy()
    for row in range(SIDE):
        for column in range(SIDE):
            x, inside = delta[row, column], share[row, column]
            before = (x - sae.b_dec.detach().numpy()) @ sae.W_enc.detach().numpy()
            on = np.argsort(-before)[:5]
            code = np.zeros(M)
            code[on] = np.maximum(before[on], 0)
            written = sum(code[c] * vectors[c] for c in CIDS)
            taken = sum(code[c] * vectors[c] for c in INSTEAD)
            amount = request.amount
            parts = {
                "add": [(amount * UNIT * inside * direction, 1)],
                "place": [
                    (amount * UNIT * inside * direction, 1),
                    (-(1 - inside) * min(max(amount, 0), 1) * written, -1),
                ],
                "ablate": [(-amount * inside * written, -1)],
                "replace": [(amount * inside * (np.linalg.norm(taken) * direction - taken), 1)],
                "clamp": [
                    (amount * inside * (sum(v * vectors[c] for c, v in zip(CIDS, LEVELS, strict=True)) - written), 1)
                ],
            }[request.acts]
            for part, sign in parts:
                left[row, column] += sign * np.linalg.norm(part) * random if control else part
    return left


REQUESTS = {
    "add": {},
    "add less": {"strength": -1.5},
    "add in a region": {"operation": "add", "region": "left"},
    "place": {"region": "left"},
    "place a little": {"region": "left", "strength": 0.25},
    "place away": {"region": "left", "strength": -3.0},
    "ablate": {"operation": "ablate", "strength": None},
    "ablate half in a region": {"operation": "ablate", "strength": 0.5, "region": "left"},
    "replace": {"operation": "replace", "instead_of": "house", "strength": 0.7},
    "clamp": {"operation": "clamp", "strength": 0.4, "region": "left"},
}
SHARE = np.tile([1.0, 0.75, 0.25, 0.0], (SIDE, 1))


@pytest.mark.parametrize("control", [False, True], ids=["edit", "control"])
@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS)
def test_an_edit_is_what_a_loop_over_positions_makes_of_it(study, sae, given, control):
    request = asked(**given)
    delta = 3 * torch.randn(1, SIDE, SIDE, D, generator=torch.Generator().manual_seed(2))
    share = None if request.region is None else np.kron(SHARE, np.ones((2, 2)))  # of pixels, two a cell each way
    found = change_of(study, sae, request, share).applied(control)(delta, 1.0)
    known = by_hand(sae, request, delta[0].numpy(), np.ones((SIDE, SIDE)) if share is None else SHARE, control)
    assert np.allclose(found[0].numpy(), known, atol=1e-4)
    assert not np.allclose(known, delta[0].numpy(), atol=1e-2)


@pytest.mark.parametrize("acts", ["place", "add", "ablate", "replace", "clamp"])
@pytest.mark.parametrize("control", [False, True], ids=["edit", "control"])
def test_strength_zero_leaves_every_bit(study, sae, acts, control):
    more = {"region": "left"} if acts == "place" else {"instead_of": "house"} if acts == "replace" else {}
    share = np.kron(SHARE, np.ones((2, 2))) if acts == "place" else None
    delta = torch.randn(1, SIDE, SIDE, D)
    found = change_of(study, sae, asked(operation=acts, strength=0.0, **more), share).applied(control)(delta, 1.0)
    assert torch.equal(found, delta)


@pytest.mark.parametrize("acts", ["add", "ablate", "replace", "clamp"])
def test_the_control_moves_every_position_as_far_as_the_edit(study, sae, acts):
    change = change_of(study, sae, asked(operation=acts, instead_of="house" if acts == "replace" else ()))
    delta = torch.randn(1, SIDE, SIDE, D)
    moved, control = ((change.applied(one)(delta, 1.0) - delta).norm(dim=-1) for one in (False, True))
    assert torch.allclose(moved, control, atol=1e-5) and moved.max() > 0.1


def test_a_control_depends_on_the_seed_of_the_image_and_not_on_the_strength(study, sae):
    one, other = (change_of(study, sae, asked(strength=s)).random_D for s in (1.0, 2.0))
    assert torch.equal(one, other)
    plan = EditPlan(asked(), 4, (0.6, 1.0, 1.0), None, (), None, "name", ())
    at = SitePlan(study.at(("mid", 1.0, "cond"), 4), CIDS, (), (), UNIT, None)
    assert not torch.equal(SiteChange(plan, at, sae).random_D, one)


def test_a_window_is_a_name_or_times_and_its_dictionary_the_nearest_to_its_middle(study):
    """Steps of the tiny study: t = 1, 2/3, 1/3 and 0; recorded times 1 and 0."""
    assert window_of(study, "early") == (0.6, 1.0, 1.0)
    assert window_of(study, "0.6-1") == (0.6, 1.0, 1.0)
    assert window_of(study, "0.3-0.4") == (0.3, 0.4, 0.0)
    assert window_of(study, "0-1") == (0.0, 1.0, 1.0)  # as near to both: the earlier step
    for given, says in {
        "erly": r"there is no window 'erly': did you mean 'early'\? \(times do, too: 0.2-0.6\)",
        "noon": "there is no window 'noon': it has early, final",
        "0.4-0.6": r"window '0.4-0.6' holds none of the study's 4 steps, which are 0.333 apart",
        "0.6-0.2": "window '0.6-0.2' is no span of times",
        "0.2-1.2": "is no span of times: give FROM-TO with 0 <= FROM < TO <= 1",
        "0.2.1-0.6": "is no span of times",
        "nan-0.6": "there is no window 'nan-0.6'",
    }.items():
        with pytest.raises(StudyError, match=says):
            window_of(study, given)


MISTAKES = {
    "nan": ({"strength": math.nan}, "edit: 'strength' is nan: it should be a finite number"),
    "infinite": ({"strength": math.inf}, "'strength' is inf: it should be a finite number"),
    "huge": ({"strength": 1e9}, "'strength' is 1000000000.0: it should be less than or equal to 1000"),
    "no strength": ({"strength": None}, "add needs a strength: give the norm to be added"),
    "no strength to place": ({"strength": None, "region": "left"}, "place needs a strength"),
    "blank": ({"prompt": " "}, "the prompt is blank"),
    "nothing": ({"concept": " , "}, "'concept' is .*: "),
    "no number": ({"concept": "cid:x"}, "'cid:x' is no concept: give its number"),
    "place nowhere": ({"operation": "place"}, "place adds inside a region .*: give a region, or add everywhere"),
    "feather nothing": ({"feather": 2.0}, "feather softens the edge of a region, and none is given"),
    "feather below zero": ({"feather": -2.0, "region": "left"}, "'feather' is -2.0"),
    "replace nothing": ({"operation": "replace"}, "replace needs what is taken away"),
    "instead of what": ({"instead_of": "house"}, "instead_of belongs to replace, and this edit is add"),
    "in and out": ({"operation": "replace", "instead_of": "Tree"}, "'tree' is to be put in and taken away by one edit"),
    "which 3": ({"concept": 3, "block": ["mid", "up"]}, r"'3' is another concept in each block \(mid, up\)"),
    "which half": ({"concept": "cid:3", "half": "both"}, "'cid:3' is another concept in each half of guidance"),
    "no half": ({"half": "uncond"}, "'half' is 'uncond': it must be 'cond' or 'both'"),
    "no operation": ({"operation": "ablat"}, "it must be 'place', .*; did you mean 'ablate'?"),
    "seed": ({"seed": -1}, "'seed' is -1: it should be greater than or equal to 0"),
}


@pytest.mark.parametrize(("given", "says"), MISTAKES.values(), ids=MISTAKES)
def test_what_can_be_told_without_a_study_is_one_sentence(given, says):
    with pytest.raises(StudyError, match=says):
        asked(**given)


def test_concepts_may_be_given_apart_together_or_by_number():
    assert asked(concept="12,45").concept == asked(concept=[12, 45]).concept == ("12", "45")
    assert asked(concept=["boat, tree", "boat"]).concept == ("boat", "tree")
    assert [number_of(name) for name in ("12", "cid:45", "CID:7", "boat", "boat 2")] == [12, 45, 7, None, None]


def test_what_is_inside_a_region_is_what_fills_half_a_pixel_or_else_all_that_it_touches(study):
    plan = EditPlan(asked(region="left"), 3, (0.6, 1.0, 1.0), SHARE, (), None, "name", ())
    assert np.array_equal(inside_of(plan, (4, 4)), np.tile([True, True, False, False], (4, 1)))
    assert np.array_equal(inside_of(plan, (8, 8)), np.kron(inside_of(plan, (4, 4)), np.ones((2, 2), bool)))
    thin = replace(plan, share=0.3 * (SHARE == 1.0))
    assert np.array_equal(inside_of(thin, (4, 4)), np.tile([True, False, False, False], (4, 1)))
    assert inside_of(replace(plan, share=None), (4, 4)).all()
