"""What the temporal atlas is made of: prompts of both kinds, places beside the object, a strength, causes."""

from itertools import islice

import numpy as np
import pytest

from concepts.cases import Case
from study.config import load_config
from study.study import Study
from study.units import PlannedEdit
from tasks import causes, temporal
from tasks.calibrate import strength_of
from tasks.causes import labelled_concepts
from tasks.temporal import atlas_cases, best_calibrated, cases_of_target, fitting_cases
from tests.parts import add_part, label_row
from tests.paths import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"
SETTINGS = ["interventions.objects=[tree, boat]", "interventions.styles=[night, sepia]", "atlas.prompts=3"]


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", SETTINGS), "hash")


class Judge:
    """Sees every object where its first pixel says: row, column; not at all where that is 255."""

    looks = ("night", "sepia", "mosaic")

    def object_map(self, images, label):
        heat = np.zeros((len(images), 8, 8), np.float32)
        for image, of in zip(images, heat, strict=True):
            row, column = image[0, 0, :2]
            if row < 8:
                of[row, column] = 0.9
        return heat


class Backend:
    judge = Judge()


def arrange(monkeypatch, captions, places):
    """Prompts with these captions in the style and layout splits, and where the judge sees each one's object."""
    rows = [{"prompt_id": i, "caption": caption, "seed": 10 + i} for i, caption in enumerate(captions)]
    halves = iter([rows[: len(rows) // 2], rows[len(rows) // 2 :]] * 9)

    class Table:
        def __init__(self, rows):
            self.rows = rows

        def to_pylist(self):
            return self.rows

    monkeypatch.setattr(temporal, "prompts_of_split", lambda *_: Table(next(halves)))
    monkeypatch.setattr(temporal, "backend_of", lambda _: Backend())
    monkeypatch.setattr(temporal, "looks_of", lambda _: Judge.looks)

    def images(_study, cases):
        return [np.full((8, 8, 3), 0, np.uint8) + np.uint8([*places[case.prompt_id], 0]) for case in cases]

    monkeypatch.setattr(temporal, "originals_of", images)


CAPTIONS = ["a boat and a tree", "a tree at night", "a dog", "a tree"]
CAPTIONS += ["a mosaic of a boat", "a boat", "a tree and a dog"]
PLACES = {0: (1, 1), 3: (255, 0), 5: (6, 1), 6: (2, 6)}


def test_both_kinds_are_made_of_the_same_prompts_that_show_an_object_and_no_look(study, monkeypatch):
    arrange(monkeypatch, CAPTIONS, PLACES)
    spatial, looks = atlas_cases(study, "spatial"), atlas_cases(study, "global")
    assert [(named, case.prompt_id, case.region) for named, case in spatial] == [
        ("boat", 0, "top_right"),  # the object that comes first; 3 is not seen; beside where it lies
        ("boat", 5, "bottom_right"),
        ("tree", 6, "top_left"),
    ]
    assert [case.prompt_id for _, case in looks] == [0, 5, 6] and {case.region for _, case in looks} == {"everywhere"}
    assert [case.seed for _, case in looks] == [10, 15, 16]
    assert looks[0][1] == Case(0, CAPTIONS[0], 10, "everywhere")


def test_an_object_has_the_prompts_that_name_it_and_a_look_its_turn(study, monkeypatch):
    arrange(monkeypatch, CAPTIONS, PLACES)
    assert [case.prompt_id for case in cases_of_target(study, "spatial", "boat")] == [0, 5]
    assert [case.prompt_id for case in cases_of_target(study, "global", "sepia")] == [0, 5, 6]
    turns = Study(study.root, load_config(CONFIG, [*SETTINGS, "atlas.looks_per_prompt=1"]), "hash")
    assert [case.prompt_id for case in cases_of_target(turns, "global", "night")] == [0, 6]
    assert [case.prompt_id for case in cases_of_target(turns, "global", "sepia")] == [5]


def test_no_more_prompts_are_looked_at_than_are_asked_for(study, monkeypatch):
    looked = []
    arrange(monkeypatch, CAPTIONS, PLACES)
    shown = temporal.originals_of
    monkeypatch.setattr(temporal, "originals_of", lambda s, cases: looked.append(cases[0].prompt_id) or shown(s, cases))
    assert [case.prompt_id for _, case in islice(fitting_cases(study, "global"), 2)] == [0, 5]
    assert looked == [0, 3, 5]


def test_every_length_and_control_has_every_onset(study, monkeypatch):
    """Three onsets of four steps; nothing is sampled: an image tells by what it was made."""
    config = load_config(CONFIG, [*SETTINGS, "atlas.length=[0.4, 0.9]", "atlas.onsets=3", "sampling.steps=5"])
    study = Study(study.root, config, "hash")
    case, published = Case(0, "a tree", 1, "top_left"), {}

    class Fake:
        cid_count = 2

        def __init__(self, study, recipe):
            self.recipe = recipe

        def again(self, recipe):
            return Fake(study, recipe)

        def run(self, cases):
            return [self.recipe]

    monkeypatch.setattr(temporal, "Editor", Fake)
    monkeypatch.setattr(temporal, "atlas_cases", lambda *_: [("tree", case)])
    monkeypatch.setattr(temporal, "best_calibrated", lambda *_: 6.0)
    monkeypatch.setattr(temporal, "originals_of", lambda *_: ["before"])
    monkeypatch.setattr(temporal, "objects_kept", lambda *_: [1.0])
    monkeypatch.setattr(temporal, "score", lambda s, edit, cases, images, before: [{"made": images[0]}])
    monkeypatch.setattr(temporal, "publish", lambda study, stage, unit, tables: published.update({unit: tables}))
    temporal.run_onsets(study, "spatial", "tree")
    rows = published["spatial-tree"]["temporal_atlas"]
    told = [(r["length"], r["onset"], r["control"], r["strength"]) for r in rows]
    assert told == [
        (length, onset, control, strength)
        for length in (0.4, 0.9)
        for onset, control, strength in (
            (1.0, "unedited", 0.0),
            *((onset, control, 6.0) for onset in (1.0, 0.5, 0.0) for control in ("none", "random_direction")),
        )
    ]
    assert all((r["made"] == "before") == (r["control"] == "unedited") for r in rows)
    made = [r["made"] for r in rows if r["control"] != "unedited"]
    assert [(one.t_high, one.control) for one in made] == [(o, c) for _, o, c, _ in told if c != "unedited"]
    assert [one.t_low for one in made if one.control == "none"] == pytest.approx([0.625, 0.125, 0.0, 0.125, 0.0, 0.0])


def test_the_strength_is_of_the_window_that_did_best(study, tmp_path):
    columns = {"effect": 0.1, "outside_change": 0.1, "n": 16, "target": "tree", "kind": "spatial"}
    tried = [("early", 4.0, 0.4), ("early", 8.0, 0.9), ("final", 4.0, 0.1), ("final", 8.0, 0.1)]
    rows = [
        {**columns, "window": window, "strength": strength, "success": success, "random_success": 0.0}
        for window, strength, success in tried
    ]
    add_part(study.root, "calibrations", "a", rows)
    assert best_calibrated(study, "spatial") == best_calibrated(study, "spatial", "tree") == 8.0
    assert best_calibrated(study, "global") == study.config.interventions.global_strengths[0]  # one: no choice


def test_a_concept_is_tried_for_its_best_label_of_the_kind(study, monkeypatch):
    monkeypatch.setattr(causes, "looks_of", lambda _: ("night",))
    rows = [label_row(0, 0.3, assigned=True), label_row(0, 0.5, assigned=True, label="boat")]
    rows += [label_row(1, 0.4, assigned=True, label="night"), label_row(2, 0.9, assigned=False)]
    rows += [label_row(3, 0.9, assigned=True, kind="untrained")]
    add_part(study.root, "concept_labels", "a", rows)
    here = study.at(("mid", 1.0, "cond"), 4)
    assert labelled_concepts(here, "spatial") == {0: "boat"} and labelled_concepts(here, "global") == {1: "night"}


def test_a_target_may_have_a_strength_of_its_own(tmp_path):
    config = load_config(CONFIG, [*SETTINGS, "interventions.strength_by=target"])
    by_target, by_kind = Study(str(tmp_path), config, "h"), Study(str(tmp_path), load_config(CONFIG, SETTINGS), "h")
    columns = {
        "effect": 0.1,
        "outside_change": 0.1,
        "n": 16,
        "kind": "spatial",
        "window": "early",
        "random_success": 0.0,
    }
    tried = [("tree", 4.0, 0.9), ("tree", 8.0, 0.5), ("boat", 4.0, 0.1), ("boat", 8.0, 0.7)]
    rows = [{**columns, "target": target, "strength": s, "success": success} for target, s, success in tried]
    add_part(tmp_path, "calibrations", "a", rows)
    for study, expected in ((by_target, (4.0, 8.0)), (by_kind, (8.0, 8.0))):
        edits = [PlannedEdit("spatial", target, "early") for target in ("tree", "boat")]
        assert tuple(strength_of(study, edit) for edit in edits) == expected
        assert tuple(best_calibrated(study, "spatial", edit.target) for edit in edits) == expected
        assert best_calibrated(study, "spatial") == 8.0
