"""Which cases and concepts a picture shows, against a search of all of them; success and reports have no say."""

import itertools
import random

import pytest

from concepts.pictured import best_of_each_label, pictured_edits
from concepts.settings import REGIONS

WINDOWS = ["early", "middle", "final"]


def edit(prompt_id, region, control, **more):
    row = {"prompt_id": prompt_id, "kind": "spatial", "window": "early", "target": "tree", "region": region,
           "control": control, "seed": 1, "success": False, "image": b"x"}  # fmt: skip
    return row | more


def study(targets=("house", "tree", "dog"), prompts=(9, 4), **more):
    """All edits of some targets in both kinds and all windows; the unedited image has the target at the top left."""
    rows = []
    for target, window, prompt, region in itertools.product(targets, WINDOWS, prompts, REGIONS):
        there = region == "top_left"
        about = {"target": target, "window": window, **more}
        rows.append(edit(prompt, region, "unedited", success=there, image=None, **about))
        rows.append(edit(prompt, region, "none", **about))
        rows.append(edit(prompt, region, "random_direction", **about))
    return rows


def shown(pairs):
    return [(one["target"], one["window"], one["prompt_id"], one["region"]) for one, _ in pairs]


def test_each_target_in_turn_shows_the_next_case_that_the_image_before_lacks():
    rows = study()
    random.Random(0).shuffle(rows)
    # By prompt and region, without the top left: 4 top_right, 4 bottom_left, 4 bottom_right, 9 top_right, ...
    left = [(p, r) for p in (4, 9) for r in REGIONS if r != "top_left"]
    expected = [(t, "early", *left[i]) for i, t in enumerate(["dog", "house", "tree"])]
    pairs = pictured_edits(rows, WINDOWS)
    assert shown(pairs) == expected
    for edited, control in pairs:
        assert (edited["control"], control["control"]) == ("none", "random_direction")
        same = ("prompt_id", "kind", "window", "target", "region", "seed")
        assert all(edited[name] == control[name] for name in same)


def test_more_targets_than_cases_begin_again():
    rows = study(targets=[f"t{i}" for i in range(8)], prompts=(4,))
    left = [r for r in REGIONS if r != "top_left"]
    assert [region for *_, region in shown(pictured_edits(rows, WINDOWS))] == [left[i % 3] for i in range(8)]


def test_whatever_succeeds_the_same_cases_are_shown():
    rows = study()
    turned = [row | {"success": not row["success"]} if row["control"] != "unedited" else row for row in rows]
    assert shown(pictured_edits(turned, WINDOWS)) == shown(pictured_edits(rows, WINDOWS))


@pytest.mark.parametrize(
    ("windows", "second"), [(WINDOWS, "middle"), (["early"], "early"), (["early", "final"], "final")]
)
def test_spatial_edits_are_shown_in_the_first_window_and_global_ones_in_the_second(windows, second):
    style = {"kind": "global", "target": "night", "region": "everywhere"}
    rows = study(("tree",)) + [
        edit(3, **{**style, "control": control, "window": window, "image": image})
        for window in WINDOWS
        for control, image in (("unedited", None), ("none", b"x"), ("random_direction", b"x"))
    ]
    assert [(t, w) for t, w, *_ in shown(pictured_edits(rows, windows))] == [("tree", "early"), ("night", second)]


def test_what_was_not_kept_or_has_no_control_is_not_shown():
    rows = study(("tree",))
    assert pictured_edits([], WINDOWS) == pictured_edits(rows, []) == []
    assert pictured_edits([r | {"image": None} for r in rows], WINDOWS) == []
    assert pictured_edits([r for r in rows if r["control"] != "random_direction"], WINDOWS) == []
    without = [r | {"image": None} if r["control"] == "random_direction" else r for r in rows]
    assert pictured_edits(without, WINDOWS) == []
    everywhere = [r | {"success": True} if r["control"] == "unedited" else r for r in rows]
    assert pictured_edits(everywhere, WINDOWS) == []
    first = [r | {"image": None} if (r["prompt_id"], r["region"]) == (4, "top_right") else r for r in rows]
    assert shown(pictured_edits(first, WINDOWS)) == [("tree", "early", 4, "bottom_left")]


def label(name, block, cid, iou, heldout=0.5):
    return {"label": name, "block": block, "cid": cid, "iou_selection": iou, "iou_heldout": heldout}


def test_a_label_is_shown_by_the_concept_that_the_selection_half_finds_best():
    rows = [label("tree", "mid", i, random.Random(i).random(), 1 - i / 20) for i in range(20)]
    rows += [label("sky", "mid", i, random.Random(100 + i).random()) for i in range(20)]
    found = best_of_each_label(rows)
    best = {
        name: max((r for r in rows if r["label"] == name), key=lambda r: r["iou_selection"]) for name in ("sky", "tree")
    }
    assert found == sorted(best.values(), key=lambda r: -r["iou_selection"])
    assert [row["label"] for row in found] == sorted(best, key=lambda name: -best[name]["iou_selection"])


def test_ties_go_by_label_block_and_number():
    rows = [label("b", "up", 1, 0.5), label("b", "mid", 7, 0.5), label("b", "mid", 3, 0.5), label("a", "up", 9, 0.5)]
    found = [(row["label"], row["block"], row["cid"]) for row in best_of_each_label(rows)]
    assert found == [("a", "up", 9), ("b", "mid", 3)]
