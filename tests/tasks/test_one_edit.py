"""The arithmetic of one edit, by a plain loop over positions, and what a request may not ask for."""

import math
import re
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
from tasks.edit_plan import window_of
from tasks.edit_request import number_of, points_of, request_of
from tasks.edit_scores import beside
from tasks.edit_terms import EditPlan, PartPlan, SitePlan
from tasks.one_edit import batches
from tasks.site_change import SiteChange, edits_of
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


def plan_of(study, request, share=None, windows=((0.6, 1.0, 1.0),), seed=3):
    """All parts at one site, by the same concepts."""
    at = SitePlan(study.at(("mid", 1.0, "cond"), 4), CIDS, INSTEAD, LEVELS, UNIT, None)
    parts = [PartPlan(part, window, share, (at,)) for part, window in zip(request.planned, windows, strict=True)]
    return EditPlan(request, seed, tuple(parts), None, "name", ())


def changes_in(plan, sae):
    return [SiteChange(plan, number, part.sites[0], sae) for number, part in enumerate(plan.parts)]


def applied(study, plan, sae, delta, t, drawn=None):
    """What the block is left with at a time."""
    (edit,) = edits_of(study, changes_in(plan, sae), drawn)
    return edit.apply(delta, t)


def by_hand(sae, request, delta, share, control, factor=1.0):
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
            amount = request.amount * factor
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
    "add by schedule": {"schedule": "1:0.5,0.6:1.5"},
    "place by schedule": {"region": "left", "strength": 1.6, "schedule": [(1, 0.5), (0.6, 1.5)]},
    "clamp by schedule": {"operation": "clamp", "strength": 0.4, "schedule": {"1": 0.5, "0.6": 1.5}},
}
SHARE = np.tile([1.0, 0.75, 0.25, 0.0], (SIDE, 1))


@pytest.mark.parametrize("control", [False, True], ids=["edit", "control"])
@pytest.mark.parametrize("given", REQUESTS.values(), ids=REQUESTS)
def test_an_edit_is_what_a_loop_over_positions_makes_of_it(study, sae, given, control):
    request = asked(**given)
    delta = 3 * torch.randn(1, SIDE, SIDE, D, generator=torch.Generator().manual_seed(2))
    share = None if request.region is None else np.kron(SHARE, np.ones((2, 2)))  # of pixels, two a cell each way
    found = applied(study, plan_of(study, request, share), sae, delta, 1.0, [0] if control else None)
    inside = np.ones((SIDE, SIDE)) if share is None else SHARE
    known = by_hand(sae, request, delta[0].numpy(), inside, control, 0.5 if request.schedule else 1.0)
    assert np.allclose(found[0].numpy(), known, atol=1e-4)
    assert not np.allclose(known, delta[0].numpy(), atol=1e-2)


@pytest.mark.parametrize("acts", ["place", "add", "ablate", "replace", "clamp"])
@pytest.mark.parametrize("control", [False, True], ids=["edit", "control"])
def test_strength_zero_leaves_every_bit(study, sae, acts, control):
    more = {"region": "left"} if acts == "place" else {"instead_of": "house"} if acts == "replace" else {}
    share = np.kron(SHARE, np.ones((2, 2))) if acts == "place" else None
    delta = 3 * torch.randn(1, SIDE, SIDE, D, generator=torch.Generator().manual_seed(2))
    plan = plan_of(study, asked(operation=acts, strength=0.0, **more), share)
    assert torch.equal(applied(study, plan, sae, delta, 1.0, [0] if control else None), delta)
    late = plan_of(study, asked(operation=acts, strength=2.0, schedule="1:0,0.9:0,0.7:1", **more), share)
    assert torch.equal(applied(study, late, sae, delta, 0.95, [0] if control else None), delta)
    assert not torch.equal(applied(study, late, sae, delta, 0.8, [0] if control else None), delta)


@pytest.mark.parametrize("acts", ["add", "ablate", "replace", "clamp"])
def test_the_control_moves_every_position_as_far_as_the_edit(study, sae, acts):
    plan = plan_of(study, asked(operation=acts, instead_of="house" if acts == "replace" else ()))
    delta = 3 * torch.randn(1, SIDE, SIDE, D, generator=torch.Generator().manual_seed(2))
    moved, control = ((applied(study, plan, sae, delta, 1.0, drawn) - delta).norm(dim=-1) for drawn in (None, [0]))
    assert torch.allclose(moved, control, atol=1e-5) and moved.max() > 0.1


def test_controls_of_a_batch_are_those_of_single_images_each_of_its_own(study, sae):
    plan, one = plan_of(study, asked()), torch.randn(1, SIDE, SIDE, D)
    together = applied(study, plan, sae, one.expand(3, -1, -1, -1), 1.0, [0, 1, 5])
    for image, draw in zip(together, (0, 1, 5), strict=True):
        assert torch.allclose(image, applied(study, plan, sae, one, 1.0, [draw])[0], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=0.1)
    assert not torch.allclose(together[1], together[2], atol=0.1)


PARTS = [
    {"concept": "tree", "window": "early", "strength": 2.0},
    {"concept": "house", "window": "late", "strength": 0.7, "operation": "ablate"},
    {"concept": "dog", "window": "late", "strength": -1.0},
]
WINDOWS = ((0.6, 1.0, 1.0), (0.3, 0.8, 1.0), (0.0, 0.2, 0.0))


def test_parts_at_one_block_add_up_each_in_its_own_window(study, sae):
    """0.7 has the first two, 0.9 and 0.5 one of them, 0.25 lies between windows: nothing is done, to the last bit."""
    whole = plan_of(study, request_of(prompt="a tree", parts=PARTS), windows=WINDOWS)
    delta = torch.randn(1, SIDE, SIDE, D)
    for drawn in (None, [0]):
        alone = [change.of(delta, 0.7, change.randoms(drawn)) for change in changes_in(whole, sae)]
        for t, acting in ((0.9, [0]), (0.7, [0, 1]), (0.5, [1]), (0.25, []), (0.1, [2])):
            left = applied(study, whole, sae, delta, t, drawn)
            assert torch.allclose(left, delta + sum(alone[number] for number in acting), atol=1e-5)
        assert torch.equal(applied(study, whole, sae, delta, 0.25, drawn), delta)
    (edit,) = edits_of(study, changes_in(whole, sae), None)
    assert (edit.module, edit.t_low, edit.t_high, edit.half) == ("mid_block.attentions.0", 0.0, 1.0, "cond")


def test_a_plan_of_one_part_is_what_the_simple_options_ask_for(study, sae):
    simple, planned = asked(), request_of(prompt="a tree", parts=[PARTS[0]])
    assert simple.planned == planned.planned
    delta = torch.randn(1, SIDE, SIDE, D)
    for drawn in (None, [0], [4]):
        one, other = (applied(study, plan_of(study, given), sae, delta, 1.0, drawn) for given in (simple, planned))
        assert torch.equal(one, other)


def test_two_parts_of_a_control_have_directions_of_their_own(study, sae):
    twice = request_of(prompt="a tree", parts=[PARTS[0], PARTS[0] | {"strength": 1.0}])
    one, other = (change.randoms([0, 1]) for change in changes_in(plan_of(study, twice, windows=WINDOWS[:2]), sae))
    assert torch.equal(one[0], changes_in(plan_of(study, asked()), sae)[0].randoms([0])[0])
    assert (torch.cat([one, other]) @ torch.cat([one, other]).T - torch.eye(4)).abs().max() < 0.999


def test_a_control_depends_on_the_seed_of_the_image_and_not_on_the_strength(study, sae):
    one, other = (changes_in(plan_of(study, asked(strength=s)), sae)[0].randoms([0, 3]) for s in (1.0, 2.0))
    assert torch.equal(one, other)
    (another,) = changes_in(plan_of(study, asked(), seed=4), sae)
    assert not torch.equal(another.randoms([0]), one[:1])


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
    "nothing": ({"concept": " , "}, "edit: an edit needs a concept: give the concept that is edited in"),
    "no window": ({"window": None}, "edit: an edit needs a window: give"),
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
    "schedule outside": ({"schedule": "1.5:1"}, "schedule '1.5:1' lies outside all times: give one from 0"),
    "schedule twice": ({"schedule": "1:1,0.6:1,1.0:0"}, "schedule has the time 1 twice: keep one factor"),
    "schedule nan": ({"schedule": "1:nan"}, "schedule '1:nan' holds no finite number: give TIME:FACTOR"),
    "schedule infinite": ({"schedule": [(0.5, math.inf)]}, "schedule '0.5:inf' holds no finite number"),
    "schedule of words": ({"schedule": "1:0,early"}, "schedule 'early' is no point: give TIME:FACTOR, as in 1:0"),
    "schedule of nothing": ({"schedule": ""}, "schedule '' is no point"),
    "schedule of one number": ({"schedule": 3}, "'schedule' is 3: it must be text"),
    "quantile of 0": ({"operation": "clamp", "quantile": 0}, "'quantile' is 0: it should be greater than 0"),
    "quantile above 1": ({"operation": "clamp", "quantile": 1.01}, "'quantile' is 1.01: it should be less than or"),
    "quantile of add": ({"quantile": 0.5}, "quantile belongs to clamp, and this edit is add"),
    "controls": ({"controls": 0}, "'controls' is 0: it should be greater than or equal to 1"),
    "controls unseen": ({"controls": 20, "judge": False}, "of 20 controls all but the first are only scored: ask the"),
    "parts beside": ({"parts": [PARTS[0]]}, "concept stands beside parts, which have their own"),
    "seed": ({"seed": -1}, "'seed' is -1: it should be greater than or equal to 0"),
}


@pytest.mark.parametrize(("given", "says"), MISTAKES.values(), ids=MISTAKES)
def test_what_can_be_told_without_a_study_is_one_sentence(given, says):
    with pytest.raises(StudyError, match=says):
        asked(**given)


PLAN_MISTAKES = {
    "a part's own": ([PARTS[1], {"concept": "tree", "window": "early"}], "part 2: add needs a strength"),
    "a part's number": (
        [{**PARTS[0], "strength": math.nan}],
        "'parts.0.strength' is nan: it should be a finite number",
    ),
    "a part's key": ([{**PARTS[0], "strengh": 1}], "unknown key 'parts.0.strengh'; did you mean 'strength'?"),
    "a prompt in a part": ([{**PARTS[0], "prompt": "a"}], "unknown key 'parts.0.prompt'; "),
    "no part": (["tree"], "'parts.0' is 'tree': "),
    "twice": ([PARTS[0], PARTS[1], {**PARTS[0], "operation": "add"}], "parts 1 and 3 are the same: keep one"),
}


@pytest.mark.parametrize(("parts", "says"), PLAN_MISTAKES.values(), ids=PLAN_MISTAKES)
def test_what_is_wrong_with_a_plan_is_one_sentence_that_names_the_part(parts, says):
    with pytest.raises(StudyError, match=re.escape(says)):
        request_of(prompt="a tree", parts=parts)


def test_a_schedule_is_given_as_text_or_as_pairs():
    spelt = ("1:0, 0.6:1,0.2:0.5", {1: 0, 0.6: 1, 0.2: 0.5}, [(0.2, 0.5), [1, 0], (0.6, 1)])
    assert {asked(schedule=given).points for given in spelt} == {((0.2, 0.5), (0.6, 1.0), (1.0, 0.0))}
    assert len({str(asked(schedule=given).planned[0].facts) for given in spelt}) == 1
    assert points_of("0.5:-2") == ((0.5, -2.0),) and asked().points == ()
    planned = PartPlan(asked(schedule=spelt[0]).planned[0], (0.0, 1.0, 1.0), None, ())
    assert [planned.amount(t) for t in (1.0, 0.8, 0.6, 0.4, 0.1)] == pytest.approx([0, 1, 2, 1.5, 1])


def test_an_edit_beside_its_controls_in_numbers():
    controls = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    told = beside(0.3, controls)
    assert told["score_control_mean"] == pytest.approx(0.3) and told["above_controls"] == 0.4  # an equal one is none
    assert told["score_control_low"] == pytest.approx(0.1 + 0.025 * 4 * 0.1)
    assert told["score_control_high"] == pytest.approx(0.5 - 0.025 * 4 * 0.1)
    alone = beside(0.3, np.array([0.1]))
    assert alone == {
        "score_control_mean": 0.1,
        "score_control_low": None,
        "score_control_high": None,
        "above_controls": 1.0,
    }
    assert batches(range(1, 20), 8) == [range(1, 9), range(9, 17), range(17, 20)] and batches(range(1, 1), 8) == []


def test_concepts_may_be_given_apart_together_or_by_number():
    assert asked(concept="12,45").concept == asked(concept=[12, 45]).concept == ("12", "45")
    assert asked(concept=["boat, tree", "boat"]).concept == ("boat", "tree")
    assert [number_of(name) for name in ("12", "cid:45", "CID:7", "boat", "boat 2")] == [12, 45, 7, None, None]


def test_what_is_inside_a_region_is_what_fills_half_a_pixel_or_else_all_that_it_touches(study):
    plan = plan_of(study, asked(region="left"), SHARE)
    assert np.array_equal(plan.inside((4, 4)), np.tile([True, True, False, False], (4, 1)))
    assert np.array_equal(plan.inside((8, 8)), np.kron(plan.inside((4, 4)), np.ones((2, 2), bool)))
    thin = replace(plan.first, share=0.3 * (SHARE == 1.0))
    assert np.array_equal(thin.inside((4, 4)), np.tile([True, False, False, False], (4, 1)))
    assert replace(plan.first, share=None).inside((4, 4)).all()
    both = replace(plan, parts=(thin, replace(plan.first, share=SHARE[:, ::-1])))
    assert np.array_equal(both.inside((4, 4)), np.tile([True, False, True, True], (4, 1)))
