"""tau50 from rows of edits: curves of known half time, paired by prompts, corrected for how many are tested."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from concepts.onset_table import curves, onset_rows

ONSETS = [1.0, 0.75, 0.5, 0.25, 0.0]


def row(kind, target, onset, control, prompt_id, success, length=0.4):
    return {
        "length": length,
        "kind": kind,
        "target": target,
        "onset": onset,
        "control": control,
        "prompt_id": prompt_id,
        "success": success,
    }


def edits(kind, target, last, control="none", prompts=8):
    """Success down to the onset ``last``, for every prompt."""
    return [row(kind, target, onset, control, prompt, onset >= last) for onset in ONSETS for prompt in range(prompts)]


def test_curves_are_means_of_a_prompts_cases():
    rows = [row("global", "night", 1.0, "none", 3, True), row("global", "sepia", 1.0, "none", 3, False)]
    rows += [row("global", look, 0.5, "none", 3, True) for look in ("night", "sepia")]
    rows += [row("global", "night", onset, "none", 1, False) for onset in (0.5, 1.0)]
    onsets, prompts, success = curves(rows)
    assert onsets.tolist() == [1.0, 0.5] and prompts == [1, 3] and success.tolist() == [[0, 0], [0.5, 1]]


def test_each_kind_has_its_onset_and_the_difference_its_sign():
    rows = edits("spatial", "tree", 0.75) + edits("global", "night", 0.25) + edits("global", "sepia", 0.5)
    rows += edits("global", "night", 0.0, "switched_prompt") + edits("global", "night", 2.0, "random_direction")
    rows += edits("spatial", "tree", 2.0, "unedited")
    found = {(r["kind"], r["control"], r["target"]): r for r in onset_rows(rows, 200, 0)}
    assert {key for key in found if key[0] != "spatial-global"} == {
        *(("spatial", "none", target) for target in ("*", "tree")),
        *(("global", "none", target) for target in ("*", "night", "sepia")),
        *(("global", "switched_prompt", target) for target in ("*", "night")),
    }
    # Success 1, then 0: half is reached half-way between the two onsets.
    assert found["spatial", "none", "*"]["tau50"] == pytest.approx(0.625)
    assert found["global", "none", "night"]["tau50"] == pytest.approx(0.125)
    assert found["global", "none", "*"]["tau50"] == pytest.approx(0.25)  # 1 until .5, .5 at .25, 0
    lasting = found["global", "switched_prompt", "*"]
    assert (lasting["tau50"], lasting["never"], lasting["peak"]) == (0.0, 1.0, 1.0)
    difference = found["spatial-global", "none", "night"]
    assert difference["tau50"] == pytest.approx(0.5) and difference["n_prompts"] == 8
    assert difference["p"] == pytest.approx(2 / 201)
    tested = [r for r in found.values() if r["kind"] == "spatial-global"]
    assert [r["q"] for r in tested] == pytest.approx(list(false_discovery_control([r["p"] for r in tested])))
    assert {r["target"] for r in tested} == {"*", "night", "sepia"}


def test_every_length_has_curves_of_its_own_and_all_differences_are_corrected_together():
    rows = edits("spatial", "tree", 0.75) + edits("global", "night", 0.25)
    short = edits("spatial", "tree", 0.75) + edits("global", "night", 0.75)
    both = onset_rows(rows + [one | {"length": 0.2} for one in short], 200, 0)
    assert [{k: v for k, v in r.items() if k != "q"} for r in both if r["length"] == 0.4] == [
        {k: v for k, v in r.items() if k != "q"} for r in onset_rows(rows, 200, 0)
    ]
    tested = [r for r in both if r["kind"] == "spatial-global"]
    assert [(r["length"], r["tau50"]) for r in tested] == [(0.4, 0.5)] * 2 + [(0.2, 0.0)] * 2  # of all looks, of night
    assert [r["q"] for r in tested] == pytest.approx(list(false_discovery_control([r["p"] for r in tested])))
    assert tested[0]["q"] == pytest.approx(2 * tested[0]["p"]) and tested[2]["q"] == 1.0


def test_the_difference_is_of_the_prompts_that_both_have():
    rows = edits("spatial", "tree", 0.75, prompts=4) + edits("global", "night", 0.25, prompts=8)
    found = {r["kind"]: r for r in onset_rows(rows, 100, 0) if r["target"] == "*"}
    assert (found["spatial"]["n_prompts"], found["global"]["n_prompts"]) == (4, 8)
    assert found["spatial-global"]["n_prompts"] == 4


def test_what_never_succeeds_has_no_onset_and_no_difference():
    rows = edits("spatial", "tree", 2.0) + edits("global", "night", 0.25)
    found = onset_rows(rows, 100, 0)
    assert {r["kind"] for r in found} == {"spatial", "global"}
    nothing = next(r for r in found if r["kind"] == "spatial" and r["target"] == "*")
    assert (nothing["tau50"], nothing["tau50_ci_low"], nothing["never"], nothing["peak"]) == (None, None, None, 0.0)


def test_intervals_resample_prompts():
    rng = np.random.default_rng(4)
    rows = [
        row("spatial", "tree", onset, "none", prompt, onset >= last)
        for prompt, last in enumerate(rng.choice([0.75, 0.5, 0.25], 30))
        for onset in ONSETS
    ]
    (told,) = [r for r in onset_rows(rows, 400, 0) if r["target"] == "*"]
    assert told["tau50_ci_low"] < told["tau50"] < told["tau50_ci_high"] < told["tau50_ci_low"] + 0.35
