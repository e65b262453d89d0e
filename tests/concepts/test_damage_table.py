"""What edits cost, from rows made by hand: against means that are written down and the distance of known images."""

import numpy as np
import pytest

from concepts.damage_table import COLUMNS, SPLITS, Unedited, damage_columns, with_interval
from concepts.frechet import frechet_chance, frechet_distance

SAMPLES, SEED = 200, 3
FEATURES = np.random.default_rng(0).normal(size=(7, 3))


def row(prompt_id, fidelity=None, features=None, iou=None, off=None, downstream=None):
    measured = {"layout_iou": iou, "fidelity": fidelity, "off_distribution": off, "off_downstream": downstream}
    return {"prompt_id": prompt_id, "features": features, **measured}


def columns(rows, before, edited=True):
    return damage_columns(rows, Unedited(before, SEED), edited, SAMPLES, SEED)


def test_means_are_of_the_cases_that_have_a_value():
    rows = [row(1, 1.0, iou=0.5, off=2.0), row(1, 0.5, off=4.0), row(2, None, iou=1.0, off=9.0, downstream=1.5)]
    found = columns(rows, [row(1, 1.0), row(2, None)])
    assert (found["layout_iou"], found["fidelity"]) == (0.75, 0.75)
    assert (found["off_distribution"], found["off_downstream"]) == (5.0, 1.5)
    # Resampled are the two prompts, the two cases of the first together.
    assert (found["off_distribution_ci_low"], found["off_distribution_ci_high"]) == (3.0, 9.0)
    assert found["off_downstream_ci_low"] is None is found["off_downstream_ci_high"]  # one prompt tells no spread
    empty = columns([row(1), row(2)], [row(1), row(2)])
    assert set(empty.values()) == {None}
    assert {name.removesuffix("_ci_low").removesuffix("_ci_high") for name in empty} == {
        *(set(COLUMNS) - {"features"}), "fidelity_lost", "frechet", "frechet_chance",
    }  # fmt: skip


def test_what_is_lost_is_lost_of_the_unedited_image_of_the_same_prompt():
    before = [row(1, 1.0), row(1, 1.0), row(2, 0.5), row(3, None)]
    rows = [row(1, 0.5), row(1, 1.0), row(2, 1.0), row(3, None), row(4, 0.25)]
    found = columns(rows, before)
    assert found["fidelity_lost"] == pytest.approx((0.5 + 0.0 - 0.5) / 3)
    assert found["fidelity_lost_ci_low"] == -0.5 and found["fidelity_lost_ci_high"] == 0.25
    assert columns(before, before, edited=False)["fidelity_lost"] is None


def test_the_distance_is_to_the_unedited_images_of_the_same_cases():
    """Prompt 0 has two cases, so that its unedited image counts twice; 6 was not edited, 5 has no features."""
    before = [row(i, features=FEATURES[i]) for i in (6, 0, 0, 1, 2, 3, 4)] + [row(5)]
    cases = [0, 0, 1, 2, 3, 4]
    after = np.random.default_rng(1).normal(size=(6, 3)) + 1.0
    rows = [row(i, features=list(a)) for i, a in zip(cases, after, strict=True)] + [row(5, features=[9.0] * 3)]
    found = columns(rows, before)
    assert found["frechet"] == pytest.approx(frechet_distance(after, FEATURES[cases]))
    assert found["frechet_chance"] == pytest.approx(frechet_chance(FEATURES[:5], SPLITS, SEED))
    assert found["frechet_chance"] > 0
    same = columns([row(i, features=FEATURES[i]) for i in cases], before)
    assert same["frechet"] == pytest.approx(0, abs=1e-9)
    few = columns(rows[2:5], before)
    assert few["frechet"] > 0 and few["frechet_chance"] is None
    assert columns(rows[:1], before)["frechet"] is None
    whole = columns(before, before, edited=False)
    assert whole["frechet"] is None is whole["frechet_chance"]


def test_an_interval_that_reaches_no_bound_is_that_of_the_prompts():
    values = [({"prompt_id": i}, float(i)) for i in range(8)]
    found = with_interval("x", values, (0.0, float("nan")), 2000, 0)
    assert found["x"] == 3.5 and found["x_ci_low"] == pytest.approx(3.5 - 1.96 * np.std(range(8)) / 8**0.5, abs=0.25)
    agreed = with_interval("x", [({"prompt_id": i}, 0.0) for i in range(8)], (0.0, 1.0), 2000, 0)
    assert (agreed["x_ci_low"], agreed["x_ci_high"]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 8)))
    level = with_interval("x", [({"prompt_id": i}, 1.5) for i in range(8)], (0.0, float("nan")), 2000, 0)
    assert (level["x"], level["x_ci_low"], level["x_ci_high"]) == (1.5, None, None)


@pytest.mark.parametrize(
    ("name", "end", "width"),
    [
        ("layout_iou", 0.0, 1.0),
        ("layout_iou", 1.0, -1.0),
        ("fidelity", 0.0, 1.0),
        ("fidelity", 1.0, -1.0),
        ("fidelity_lost", -1.0, 2.0),
        ("fidelity_lost", 1.0, -2.0),
    ],
)
def test_where_every_prompt_agrees_on_a_measures_end_the_interval_reaches_inwards(name, end, width):
    """As far as eight tries that all agree allow, of the measure's whole width."""
    values = {"layout_iou": {"iou": end}, "fidelity": {"fidelity": end}, "fidelity_lost": {"fidelity": max(-end, 0.0)}}
    rows = [row(i, **values[name]) for i in range(8)]
    found = columns(rows, [row(i, max(end, 0.0) if name == "fidelity_lost" else None) for i in range(8)])
    ends = sorted((end, end + width * (1 - 0.025 ** (1 / 8))))
    assert found[name] == end
    assert (found[f"{name}_ci_low"], found[f"{name}_ci_high"]) == pytest.approx(tuple(ends))


@pytest.mark.parametrize("name", ["off_distribution", "off_downstream"])
def test_distances_that_are_all_nought_have_no_other_end_to_reach_for(name):
    rows = [row(i, off=0.0, downstream=0.0) for i in range(8)]
    found = columns(rows, [])
    assert found[name] == 0 and found[f"{name}_ci_low"] is None is found[f"{name}_ci_high"]
