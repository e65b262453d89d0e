"""Trials of strengths: whom each strength is tried on, in full and by halving, against an editor that only counts."""

from collections import Counter
from types import SimpleNamespace

import pytest

from concepts.cases import Case
from concepts.edit_controls import CONCEPTS, RANDOM
from concepts.strengths import best_strength
from study.config import load_config
from study.study import Study
from study.units import Calibration
from tasks import calibrate
from tests.paths import ROOT

STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
BEST = {"night": 4.0, "sepia": 16.0, "tree": 2.0, "boat": 8.0}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Calibrates a kind; returns the rows, the recorded strength and every (recipe, prompt) that was sampled."""
    sampled, published = [], {}

    class Counting:
        def __init__(self, study, recipe):
            self.recipe = recipe
            self.places = [SimpleNamespace(here=SimpleNamespace(site=("up", 0.5, "cond")))]

        def again(self, recipe):
            return Counting(None, recipe)

        def run(self, cases):
            sampled.extend((self.recipe, case.prompt_id) for case in cases)
            return [(self.recipe, case.prompt_id) for case in cases]

    def score(study, edit, cases, images, before):
        """An image succeeds at its target's best strength; random directions never do, whoever they were made for."""
        assert [case.prompt_id for case in cases] == [prompt for _, prompt in images] == before
        return [
            {
                "success": recipe.control == CONCEPTS and recipe.strength == BEST[edit.target],
                "effect": 0.0,
                "outside_change": 0.0,
            }
            for recipe, _ in images
        ]

    def cases_of(study, kind, target, split, prompts):
        assert split == "dictionary"
        return [Case(i, f"caption {i}", i, "everywhere") for i in range(prompts * (4 if kind == "spatial" else 1))]

    monkeypatch.setattr(calibrate, "Editor", Counting)
    monkeypatch.setattr(calibrate, "score", score)
    monkeypatch.setattr(calibrate, "cases_of", cases_of)
    monkeypatch.setattr(calibrate, "originals_of", lambda study, cases: [case.prompt_id for case in cases])
    monkeypatch.setattr(
        calibrate, "publish", lambda study, stage, unit, tables, extra: published.update({**tables, **extra})
    )

    def calibrated(kind, *settings):
        config = load_config(
            ROOT / "configs" / "tiny.yaml",
            [
                "interventions.objects=[tree, boat]",
                "interventions.styles=[night, sepia]",
                f"interventions.spatial_strengths={list(STRENGTHS)}",
                f"interventions.global_strengths={list(STRENGTHS)}",
                "interventions.calibration_images=8",
                "interventions.block=mid",
                *settings,
            ],
        )
        calibrate.run_calibration(Study(str(tmp_path), config, "hash"), Calibration(kind, "final"))
        return published["calibrations"], published["strength"], list(sampled)

    return calibrated


def of_target(rows, target):
    return {row["strength"]: row["n"] for row in rows if row["target"] == target}


@pytest.mark.parametrize("by", ["kind", "target"])
def test_in_full_every_strength_has_all_images_of_every_target_beside_directions_of_its_own(run, by):
    rows, _, sampled = run("global", f"interventions.strength_by={by}")
    assert [of_target(rows, target) for target in ("night", "sepia")] == [dict.fromkeys(STRENGTHS, 8)] * 2
    assert len(sampled) == len(set(sampled)) == 2 * 2 * 5 * 8
    assert {recipe.name for recipe, _ in sampled} == {"global-night-final", "global-sepia-final"}


def test_halving_by_target_keeps_what_is_best_for_each(run):
    rows, _, sampled = run("global", "interventions.calibration=halving", "interventions.strength_by=target")
    assert of_target(rows, "night") == {4.0: 8, 1.0: 8, 2.0: 4, 8.0: 2, 16.0: 2}
    assert of_target(rows, "sepia") == {16.0: 8, 1.0: 8, 2.0: 4, 4.0: 2, 8.0: 2}
    for target in ("night", "sepia"):
        assert best_strength([row for row in rows if row["target"] == target], STRENGTHS) == BEST[target]
    concepts = [(recipe, prompt) for recipe, prompt in sampled if recipe.control == CONCEPTS]
    assert len(concepts) == len(set(concepts)) == 2 * (5 * 2 + 3 * 2 + 2 * 4)


def test_one_random_image_of_a_prompt_serves_all_looks_that_reach_its_strength(run):
    """What two looks have tried in common is sampled once; the rest is what one of them has tried alone."""
    rows, _, sampled = run("global", "interventions.calibration=halving", "interventions.strength_by=target")
    at_random = Counter((recipe.strength, prompt) for recipe, prompt in sampled if recipe.control == RANDOM)
    assert set(at_random.values()) == {1}
    longest = {s: max(of_target(rows, target)[s] for target in ("night", "sepia")) for s in STRENGTHS}
    assert at_random.keys() == {(s, prompt) for s, images in longest.items() for prompt in range(images)}
    assert {recipe.name for recipe, _ in sampled if recipe.control == RANDOM} == {"global-final"}


def test_halving_by_kind_gives_up_on_a_strength_for_all_targets_at_once(run):
    rows, strength, _ = run("spatial", "interventions.calibration=halving")
    kept = {2.0: 8, 8.0: 8, 1.0: 4, 4.0: 2, 16.0: 2}
    assert of_target(rows, "tree") == of_target(rows, "boat") == kept
    assert strength == 2.0  # of the two that are as good the smaller


def test_places_differ_so_random_directions_of_objects_are_each_ones_own(run):
    _, _, sampled = run("spatial", "interventions.calibration=halving")
    assert {r.name for r, _ in sampled if r.control == RANDOM} == {"spatial-tree-final", "spatial-boat-final"}


def test_what_no_concept_carries_is_not_tried(run, monkeypatch):
    editor = calibrate.Editor

    def nothing_carries_night(study, recipe):
        made = editor(study, recipe)
        made.places = [] if recipe.target == "night" else made.places
        return made

    monkeypatch.setattr(calibrate, "Editor", nothing_carries_night)
    rows, strength, _ = run("global", "interventions.calibration=halving")
    assert {row["target"] for row in rows} == {"sepia"} and strength == BEST["sepia"]
    monkeypatch.setattr(calibrate, "cases_of", lambda *_: [])
    rows, strength, _ = run("global", "interventions.calibration=halving")
    assert rows == [] and strength == STRENGTHS[0]
