"""What edits did, from rows made by hand: against worlds whose outcomes are written down, and against plain loops."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from concepts import damage_table
from concepts.effect_table import ALL, COLUMNS, NEW, case_of, effect_rows
from concepts.settings import REGIONS

PROMPTS = 6
SAMPLES, SEED = 200, 3


def edit(prompt_id, region, control, success, **more):
    row = {
        "prompt_id": prompt_id, "kind": "spatial", "window": "early", "target": "tree", "region": region,
        "control": control, "strength": 0.0 if control == "unedited" else 4.0, "success": success,
        "effect": 0.5 * success, "outside_change": 0.1, "objects_kept": None,
        "similarity_rise": None, "lpips": None, **dict.fromkeys(damage_table.COLUMNS),
    }  # fmt: skip
    return row | more


def by_group(rows, samples=SAMPLES, seed=SEED):
    found = effect_rows(rows, samples, seed)
    groups = {(r["kind"], r["window"], r["control"], r["target"], r["cases"]): r for r in found}
    assert len(groups) == len(found)
    return groups


def of_trees(rows, control, cases="all"):
    return by_group(rows)["spatial", "early", control, "tree", cases]


def quadrants():
    """Six prompts whose tree is at the top left: concepts move it in all but one, random directions never."""
    rows = []
    for prompt_id in range(PROMPTS):
        for region in REGIONS:
            there = region == "top_left"
            rows.append(edit(prompt_id, region, "unedited", there))
            rows.append(edit(prompt_id, region, "random_direction", there))
            rows.append(edit(prompt_id, region, "none", (prompt_id, region) != (0, "top_right")))
    return rows + [
        edit(7, region, control, moved, target="house")
        for region in REGIONS
        for control, moved in (("unedited", False), ("random_direction", False), ("none", True))
    ]


def test_cases_that_are_fulfilled_untouched_are_told_apart():
    found = by_group(quadrants())
    whole, new = (found["spatial", "early", "none", "tree", cases] for cases in ("all", "new"))
    assert (whole["n"], new["n"], new["n_prompts"]) == (24, 18, 6)
    assert whole["success"] == pytest.approx(23 / 24) and new["success"] == pytest.approx(17 / 18)
    assert whole["above_random"] == pytest.approx(17 / 24) and new["above_random"] == pytest.approx(17 / 18)
    assert found["spatial", "early", "random_direction", "tree", "all"]["success"] == 0.25
    assert found["spatial", "early", "random_direction", "tree", "new"]["success"] == 0.0
    assert not [key for key in found if key[2] == "unedited" and key[4] == "new"]  # it fulfils none of them
    everything = found["spatial", "early", "none", "*", "new"]
    assert (everything["n"], everything["n_prompts"]) == (22, 7)
    assert found["spatial", "early", "none", "house", "new"]["success"] == 1.0


def test_intervals_say_only_what_the_prompts_tell():
    found = by_group(quadrants())
    # A quarter of every prompt by design, and never a difference: resampling has nothing to say.
    for control in ("unedited", "random_direction"):
        row = found["spatial", "early", control, "tree", "all"]
        assert (row["success"], row["success_ci_low"], row["success_ci_high"]) == (0.25, None, None)
    row = found["spatial", "early", "unedited", "tree", "all"]
    assert (row["above_random"], row["above_random_ci_low"], row["above_random_ci_high"]) == (0.0, None, None)
    # Where no case at all succeeds: the exact bound for as many trials as prompts.
    none = found["spatial", "early", "random_direction", "tree", "new"]
    exact = binomtest(0, PROMPTS).proportion_ci(0.95).high
    assert (none["success_ci_low"], none["success_ci_high"]) == (0.0, pytest.approx(exact))
    moved = found["spatial", "early", "none", "tree", "new"]
    assert moved["success_ci_low"] < moved["success"] < moved["success_ci_high"] == 1.0


@pytest.mark.parametrize("prompts", [1, 4, 11])
def test_prompts_that_agree_leave_what_the_binomial_bound_leaves(prompts):
    """All cases of the edit succeed and none of the random direction: as far as that many prompts can tell."""
    rows = [
        edit(prompt_id, region, control, control == "none")
        for prompt_id, region in itertools.product(range(prompts), REGIONS[:3])
        for control in ("unedited", "random_direction", "none")
    ]
    none, every = (binomtest(hits, prompts).proportion_ci(0.95) for hits in (0, prompts))
    edited, random = of_trees(rows, "none"), of_trees(rows, "random_direction")
    assert (random["success_ci_low"], random["success_ci_high"]) == (0.0, pytest.approx(none.high))
    assert (edited["success_ci_low"], edited["success_ci_high"]) == (pytest.approx(every.low), 1.0)
    # A difference lies between -1 and 1, so it has twice as far to go.
    assert edited["above_random"] == 1.0 and edited["above_random_ci_high"] == 1.0
    assert edited["above_random_ci_low"] == pytest.approx(2 * every.low - 1)
    turned = [row | {"success": not row["success"]} for row in rows]
    worse = of_trees(turned, "none")
    assert worse["above_random"] == -1.0 and worse["above_random_ci_low"] == -1.0
    assert worse["above_random_ci_high"] == pytest.approx(2 * none.high - 1)


def test_the_difference_is_the_edits_less_the_random_directions():
    rows = [edit(i, "top_left", "random_direction", i < 3) for i in range(4)]
    rows += [edit(i, "top_left", "none", i == 3) for i in range(4)]
    assert of_trees(rows, "none")["above_random"] == pytest.approx(1 / 4 - 3 / 4)
    # The untouched images stand beside the random direction too; it does not stand beside itself.
    rows += [edit(i, "top_left", "unedited", True) for i in range(4)]
    assert of_trees(rows, "unedited")["above_random"] == pytest.approx(4 / 4 - 3 / 4)
    random = of_trees(rows, "random_direction")
    assert [random[f"above_random{end}"] for end in ("", "_ci_low", "_ci_high")] == [None, None, None]


def test_a_case_without_a_random_direction_enters_no_difference():
    """It still counts as a success. Pairs are of one prompt, target, region and window, in whatever order rows come."""
    rows = [
        edit(1, "top_left", "none", True),
        edit(2, "top_left", "none", True),
        edit(1, "top_right", "none", False),
        edit(1, "top_right", "random_direction", True),
        edit(1, "top_left", "random_direction", False),
        # None of these is the partner of prompt 2 at the top left.
        edit(2, "top_left", "random_direction", True, window="final"),
        edit(2, "top_left", "random_direction", True, target="house"),
        edit(2, "top_left", "random_direction", True, kind="global"),
        edit(2, "bottom_left", "random_direction", True),
        edit(3, "top_left", "random_direction", True),
    ]
    found = of_trees(rows, "none")
    assert (found["n"], found["success"], found["above_random"]) == (3, pytest.approx(2 / 3), 0.0)
    assert found["n_prompts"] == 2
    alone = of_trees(rows[:2], "none")
    assert [alone[f"above_random{end}"] for end in ("", "_ci_low", "_ci_high")] == [None, None, None]


def test_a_case_is_new_by_the_unedited_image_of_its_own_window():
    rows = [
        edit(1, "top_left", "unedited", True),
        edit(1, "top_left", "unedited", False, window="final"),
        edit(1, "top_left", "none", True),
        edit(1, "top_left", "none", True, window="final"),
        edit(1, "top_right", "none", True, window="final"),  # no unedited row at all: nothing fulfils it
        edit(2, "top_left", "random_direction", True),  # success of a control is no fulfilment
        edit(2, "top_left", "none", True),
    ]
    found = by_group(rows)
    assert {key[:3]: row["n"] for key, row in found.items() if key[3:] == ("tree", "new")} == {
        ("spatial", "final", "none"): 2,
        ("spatial", "early", "random_direction"): 1,
        ("spatial", "early", "none"): 1,
    }


def test_the_means_of_a_group():
    kept = [None, 0.25, 1.0]
    rows = [
        edit(9, region, "none", i == 0, effect=e, outside_change=o, objects_kept=k, strength=6.5)
        for i, (region, e, o, k) in enumerate(zip(REGIONS, (0.5, -0.25, 0.125), (0.5, 0.0, 0.25), kept, strict=False))
    ]
    found = of_trees(rows, "none")
    assert found["effect"] == pytest.approx(0.125) and found["outside_change"] == pytest.approx(0.25)
    assert found["objects_kept"] == 0.625  # the image that shows nothing to keep says nothing
    assert (found["strength"], found["n"], found["n_prompts"]) == (6.5, 3, 1)
    assert of_trees(rows[:1], "none")["objects_kept"] is None


def test_what_edits_cost_is_said_of_every_group_and_beside_the_unedited_images():
    """The cases' own numbers: two of three new ones keep less than all; what is there of the unedited is no loss."""
    rows = []
    for prompt_id, (success, fidelity) in enumerate([(True, 1.0), (False, 0.5), (False, 1.0), (False, 0.0)]):
        drawn = np.random.default_rng(prompt_id).normal(size=(2, 3))
        rows.append(edit(prompt_id, "top_left", "unedited", success, fidelity=fidelity, features=drawn[0]))
        cost = {"fidelity": fidelity / 2, "layout_iou": 0.25 * prompt_id, "off_distribution": 1.0 + prompt_id}
        rows.append(edit(prompt_id, "top_left", "none", True, features=drawn[1], **cost))
    found = by_group(rows)
    new, whole = (found["spatial", "early", "none", "tree", cases] for cases in ("new", "all"))
    assert new["fidelity"] == pytest.approx(0.25) and new["fidelity_lost"] == pytest.approx(0.25)
    assert new["layout_iou"] == pytest.approx(0.5) and new["off_distribution"] == pytest.approx(3.0)
    assert new["layout_iou_ci_low"] < 0.5 < new["layout_iou_ci_high"] and new["off_downstream"] is None
    assert whole["frechet"] > 0 and whole["frechet_chance"] > 0 and new["frechet_chance"] is None
    untouched = found["spatial", "early", "unedited", "tree", "all"]
    assert untouched["fidelity"] == pytest.approx(0.625)
    assert [untouched[name] for name in ("fidelity_lost", "frechet", "layout_iou")] == [None] * 3


def test_the_strength_is_the_groups_own():
    """Each kind and window was calibrated apart, and the untouched images have none."""
    strengths = {("spatial", "early"): 4.0, ("spatial", "final"): 8.0, ("global", "early"): 16.0}
    rows = [
        edit(1, "top_left", control, False, kind=kind, window=window, strength=strength * (control != "unedited"))
        for (kind, window), strength in strengths.items()
        for control in ("unedited", "random_direction", "none")
    ]
    for (kind, window, control, *_), row in by_group(rows).items():
        assert row["strength"] == (0.0 if control == "unedited" else strengths[kind, window])


def test_the_names_that_readers_of_the_table_know():
    assert (ALL, NEW) == ("*", "new")
    row = edit(4, "top_left", "none", True)
    assert case_of(row) == ("spatial", 4, "tree", "top_left") and set(COLUMNS) == set(row)
    (first, second, *_) = effect_rows([row], SAMPLES, SEED)
    assert list(first)[:5] == ["kind", "window", "control", "target", "cases"]
    assert [(r["target"], r["cases"]) for r in (first, second)] == [("*", "all"), ("tree", "all")]
    assert effect_rows([], SAMPLES, SEED) == []


CONTROLS = ("unedited", "random_direction", "none")


def world(seed):
    """Outcomes of a made-up study: (kind, window, target, prompt, region) -> control -> (success, effect, kept).

    Many a case lacks a control, and a prompt serves both targets and kinds.
    """
    rng = np.random.default_rng(seed)
    rates = {"unedited": 0.3, "random_direction": 0.4, "none": 0.7}
    return {
        case: {
            control: (bool(rng.random() < rate), float(rng.normal()), rng.choice([None, 0.25, 1.0]))
            for control, rate in rates.items()
            if rng.random() < 0.7
        }
        for case in itertools.product(("spatial", "global"), ("early", "final"), ("tree", "house"), range(5), REGIONS)
    }


def rows_of(outcomes, rng):
    rows = [
        edit(prompt, region, control, success, kind=kind, window=window, target=target, effect=effect,
             objects_kept=kept, outside_change=effect**2)
        for (kind, window, target, prompt, region), controls in outcomes.items()
        for control, (success, effect, kept) in controls.items()
    ]  # fmt: skip
    return [rows[i] for i in rng.permutation(len(rows))]


@pytest.mark.parametrize("seed", range(3))
def test_every_group_against_loops_over_a_world(seed):
    """Rows of a world in any order: each number counted from the world itself."""
    outcomes = world(seed)
    found = by_group(rows_of(outcomes, np.random.default_rng(seed)))
    groups = itertools.product(("spatial", "global"), ("early", "final"), CONTROLS, ("*", "tree", "house"))
    expected = set()
    for (kind, window, control, target), cases in itertools.product(groups, ("all", "new")):
        mine = []
        for case, controls in outcomes.items():
            if case[:2] != (kind, window) or target not in ("*", case[2]) or control not in controls:
                continue
            if cases == "new" and (control == "unedited" or controls.get("unedited", (False,))[0]):
                continue
            mine.append((case, controls))
        if not mine:
            continue
        expected.add((kind, window, control, target, cases))
        row = found[kind, window, control, target, cases]
        hits = sum(controls[control][0] for _, controls in mine)
        assert row["n"] == len(mine) and row["n_prompts"] == len({case[3] for case, _ in mine})
        assert row["success"] == pytest.approx(hits / len(mine))
        assert row["effect"] == pytest.approx(sum(c[control][1] for _, c in mine) / len(mine))
        assert row["outside_change"] == pytest.approx(sum(c[control][1] ** 2 for _, c in mine) / len(mine))
        kept = [c[control][2] for _, c in mine if c[control][2] is not None]
        assert row["objects_kept"] == (pytest.approx(sum(kept) / len(kept)) if kept else None)
        gains = [c[control][0] - c["random_direction"][0] for _, c in mine if "random_direction" in c]
        if control == "random_direction" or not gains:
            assert row["above_random"] is None
        else:
            assert row["above_random"] == pytest.approx(sum(gains) / len(gains))
    assert set(found) == expected


def percentile(values, part):
    """Linear between the two order statistics around it."""
    ordered, place = sorted(values), part * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval_of_prompts(values, prompts, samples, seed):
    """The mean of all values of as many prompts as there are, drawn with repeats, again and again."""
    of_prompt = {}
    for value, prompt in zip(values, prompts, strict=True):
        of_prompt.setdefault(prompt, []).append(value)
    lists, rng, means = list(of_prompt.values()), np.random.default_rng(seed), []
    for drawn in rng.integers(len(lists), size=(samples, len(lists))):
        pool = [value for i in drawn for value in lists[i]]
        means.append(sum(pool) / len(pool))
    return percentile(means, 0.025), percentile(means, 0.975)


def test_intervals_against_a_bootstrap_that_pools_lists():
    """Prompts of one to four cases each, drawn whole; the difference's over the pairs alone."""
    rng = np.random.default_rng(5)
    rows = []
    for prompt_id in range(9):
        for region in REGIONS[: 1 + prompt_id % 4]:
            rows.append(edit(prompt_id, region, "none", bool(rng.random() < 0.6)))
            if prompt_id != 3:
                rows.append(edit(prompt_id, region, "random_direction", bool(rng.random() < 0.4)))
    random = {(r["prompt_id"], r["region"]): r["success"] for r in rows if r["control"] == "random_direction"}
    edited = [r for r in rows if r["control"] == "none"]
    pairs = [r for r in edited if (r["prompt_id"], r["region"]) in random]
    assert len(pairs) < len(edited)
    gains = [r["success"] - random[r["prompt_id"], r["region"]] for r in pairs]
    for samples, seed in ((100, 0), (333, 8)):
        row = by_group(rows, samples, seed)["spatial", "early", "none", "tree", "all"]
        low, high = interval_of_prompts([r["success"] for r in edited], [r["prompt_id"] for r in edited], samples, seed)
        assert (row["success_ci_low"], row["success_ci_high"]) == (pytest.approx(low), pytest.approx(high))
        low, high = interval_of_prompts(gains, [r["prompt_id"] for r in pairs], samples, seed)
        assert (row["above_random_ci_low"], row["above_random_ci_high"]) == (pytest.approx(low), pytest.approx(high))


def look(prompt_id, control, effect, **more):
    return edit(prompt_id, "everywhere", control, False, kind="global", target="night", effect=effect, **more)


def test_how_often_the_similarity_rose_is_the_papers_success_of_a_look():
    """By the similarity where it was asked for, else by the look's probability; no rise at all is none."""
    rows = [look(p, "none", e) for p, e in enumerate((0.2, 0.0, -0.1, 0.01))]
    rows += [look(p, "random_direction", 0.1) for p in range(4)] + [look(p, "unedited", 0.0) for p in range(4)]
    found = by_group(rows)
    by_concepts = found["global", "early", "none", "night", "all"]
    assert by_concepts["rose"] == 0.5 and by_concepts["rose_ci_low"] < 0.5 < by_concepts["rose_ci_high"]
    always = found["global", "early", "random_direction", "night", "all"]
    low = binomtest(4, 4).proportion_ci(0.95, "exact").low
    assert (always["rose"], always["rose_ci_low"], always["rose_ci_high"]) == (1.0, pytest.approx(low), 1.0)
    assert found["global", "early", "unedited", "night", "all"]["rose"] is None
    measured = by_group([row | {"similarity_rise": 0.25 - row["prompt_id"] / 8, "lpips": 0.5} for row in rows])
    row = measured["global", "early", "none", "night", "all"]
    assert row["rose"] == 0.5 and row["similarity_rise"] == pytest.approx(0.0625) and row["lpips"] == 0.5
    assert by_concepts["similarity_rise"] is None is by_concepts["lpips"]
    assert {name: of_trees(quadrants(), "none")[name] for name in ("rose", "rose_ci_low")} == {
        "rose": None,
        "rose_ci_low": None,
    }


def test_targets_of_different_strengths_have_none_together():
    rows = [
        edit(1, "top_left", "none", True, target=target, strength=s) for target, s in (("tree", 4.0), ("boat", 8.0))
    ]
    found = {row["target"]: row["strength"] for row in effect_rows(rows, 100, 0) if row["cases"] == "all"}
    assert found == {"tree": 4.0, "boat": 8.0, "*": None}
