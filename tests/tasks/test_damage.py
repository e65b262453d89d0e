"""What is measured of an edit's cost, of which kind of edit and image, and what is left out unless it is asked for."""

from types import SimpleNamespace

import numpy as np
import pytest

from concepts.cases import Case
from study.units import PlannedEdit
from tasks import damage, judging
from tasks.damage import MEASURES, Damage
from tests.tasks.test_judging import Judge, picture

CASES = [Case(1, "a tree and a dog", 1, "top_left"), Case(2, "a house", 2, "top_left")]
BEFORE = [picture("tree", 0, 0) + picture("dog", 4, 4), picture("night", 0, 0)]
AFTER = [picture("tree", 7, 7) + picture("night", 4, 4), picture("tree", 7, 7)]
SPATIAL, GLOBAL = PlannedEdit("spatial", "tree", "early"), PlannedEdit("global", "night", "early")


class Seeing(Judge):
    def features(self, images):
        return np.array([image.mean((0, 1)) for image in images], np.float32)


class Readings:
    """Stands for the real ones, which read a model: tells how many runs it was asked to watch."""

    runs = 0

    def __init__(self, gauges):
        self.gauges = gauges

    def watches(self, images):
        Readings.runs += 1
        return []

    def beside(self, usual):
        assert usual is not self
        return {"off_distribution": [2.0, 3.0], "off_downstream": [None, None]}


class Editor:
    """Gives the images that are edited, and asks for watches as the real one does."""

    def __init__(self, cids=2):
        self.cid_count, self.recipe, self.looked = cids, "recipe", []

    def look(self, cases, watching):
        self.looked.append(cases)
        watching(len(cases))

    def run(self, cases, watching):
        if watching:
            watching(len(cases))
        return AFTER


@pytest.fixture(autouse=True)
def parts(monkeypatch):
    Readings.runs = 0
    for module in (damage, judging):
        monkeypatch.setattr(module, "backend_of", lambda study: SimpleNamespace(judge=study.judge))
    monkeypatch.setattr(judging, "looks_of", lambda study: ("night",))
    monkeypatch.setattr(judging, "study_labels", lambda study: ["dog", "night", "tree"])
    monkeypatch.setattr(damage, "gauges_of", lambda study, recipe: [recipe])
    monkeypatch.setattr(damage, "Readings", Readings)


def study(on=True, judge=None):
    return SimpleNamespace(judge=judge or Seeing(), config=SimpleNamespace(interventions=SimpleNamespace(damage=on)))


def measured(row):
    assert set(row) == set(MEASURES)
    return {name: value for name, value in row.items() if value is not None}


def test_a_spatial_edit_is_told_by_the_things_that_it_was_not_to_move():
    editor = Editor()
    found = Damage(study(), SPATIAL, CASES, BEFORE, editor)
    images, (first, second) = found.edited(editor)
    assert images is AFTER and editor.looked == [CASES] and Readings.runs == 2  # the unedited run, and the edited one
    brightness = 255 / 64
    assert measured(first) == {
        "layout_iou": 0.0, "fidelity": 0.5, "features": [brightness, 0.0, brightness],
        "off_distribution": 2.0,
    }  # fmt: skip
    assert measured(second) == {
        "features": [brightness, 0.0, 0.0],
        "off_distribution": 3.0,
    }  # its caption names nothing


def test_a_global_edit_is_told_by_all_things():
    editor = Editor()
    _, (first, _) = Damage(study(), GLOBAL, CASES, BEFORE, editor).edited(editor)
    assert (first["objects_kept"], first["layout_iou"], first["fidelity"]) == (0.5, 0.0, 0.5)


def test_unedited_images_have_lost_nothing_but_tell_what_they_show():
    first, second = Damage(study(), GLOBAL, CASES, BEFORE, Editor()).unedited()
    assert measured(first) == {"fidelity": 1.0, "features": [255 / 64, 255 / 64, 0.0]}
    assert measured(second) == {"features": [0.0, 0.0, 255 / 64]}


def test_nothing_is_sampled_where_no_concept_carries_the_target_or_nobody_asks():
    for editor, given in ((Editor(0), study()), (Editor(), study(on=False))):
        made = Damage(given, GLOBAL, CASES, BEFORE, editor)
        made.edited(editor)
        assert editor.looked == [] and Readings.runs == 0
    for edit, kept in ((GLOBAL, {"objects_kept": 0.5}), (SPATIAL, {})):
        made = Damage(study(on=False), edit, CASES, BEFORE, Editor())
        assert measured(made.edited(Editor())[1][0]) == kept and measured(made.unedited()[0]) == {}
    assert Damage(study(), SPATIAL, [], [], Editor()).unedited() == []


def test_a_judge_without_features_gives_none():
    editor = Editor()
    made = Damage(study(judge=Judge()), GLOBAL, CASES, BEFORE, editor)
    assert "features" not in measured(made.edited(editor)[1][0]) and "features" not in measured(made.unedited()[0])
