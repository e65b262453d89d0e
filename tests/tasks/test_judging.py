"""The judge is asked of the right images, before and after, and of the objects that a caption names."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest

from concepts.cases import Case
from study.units import PlannedEdit
from tasks import judging
from tasks.judging import NamedThings, objects_kept, score

CAPTIONS = ["a tree", "a dog at night", "a dog and trees"]


class Judge:
    """Finds a label as strongly as its channel is bright: red for a tree, green for a dog, blue for night."""

    CHANNELS: ClassVar = {"tree": 0, "dog": 1, "night": 2}

    def object_map(self, images, label):
        return np.stack(images)[..., self.CHANNELS[label]] / 255

    def style_score(self, images, label):
        return self.object_map(images, label).max((1, 2))


@pytest.fixture
def study(monkeypatch):
    monkeypatch.setattr(judging, "backend_of", lambda study: SimpleNamespace(judge=Judge()))
    monkeypatch.setattr(judging, "looks_of", lambda study: ("night",))
    monkeypatch.setattr(judging, "study_labels", lambda study: ["dog", "night", "tree"])
    return SimpleNamespace(config=SimpleNamespace(interventions=SimpleNamespace(judge_floor=0.5)))


def picture(label, row, column, level=255):
    found = np.zeros((8, 8, 3), np.uint8)
    found[row, column, Judge.CHANNELS[label]] = level
    return found


def test_a_spatial_edit_is_scored_by_its_objects_maps(study):
    cases = [Case(1, "a tree", 1, region) for region in ("top_left", "bottom_right")]
    images, before = [picture("tree", 0, 0), picture("tree", 0, 7)], [picture("tree", 7, 0), picture("tree", 7, 7)]
    moved, lost = score(study, PlannedEdit("spatial", "tree", "early"), cases, images, before)
    assert (moved["success"], moved["effect"]) == (True, 1.0)
    assert (lost["success"], lost["effect"]) == (False, -1.0)
    # Each time one pixel of the 48 outside is lost or won in one channel; what lies in the region is not counted.
    assert [row["outside_change"] for row in (moved, lost)] == pytest.approx([1 / 48 / 3] * 2)


def test_the_floor_of_the_judge_is_the_settings(study):
    """Haze in the lower right corner holds most of the raw map's mass."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[5:, 5:] = 100
    image[0, 0, 0] = 255
    cases = [Case(1, "a tree", 1, region) for region in ("top_left", "bottom_right")]
    for floor, successes in ((0.5, [True, False]), (0.0, [False, True])):
        study.config.interventions.judge_floor = floor
        found = score(study, PlannedEdit("spatial", "tree", "early"), cases, [image] * 2, [image] * 2)
        assert [row["success"] for row in found] == successes


def test_a_global_edit_is_scored_by_its_looks_probability(study):
    cases = [Case(i, "a tree", 1, "everywhere") for i in range(2)]
    images, before = [picture("night", 0, 0, 204), picture("night", 0, 0, 51)], [picture("night", 0, 0, 102)] * 2
    darker, lighter = score(study, PlannedEdit("global", "night", "early"), cases, images, before)
    assert darker["success"] and darker["effect"] == pytest.approx(0.4)
    assert not lighter["success"] and lighter["effect"] == pytest.approx(-0.2)
    assert darker["outside_change"] == pytest.approx(0.4 / 3 / 64)


def test_kept_are_the_objects_that_the_caption_names_and_no_look(study):
    """Every image shows everything before; afterwards the first has lost its tree, the third its dog, all the night."""
    everything = sum(picture(label, 2, 3) for label in Judge.CHANNELS)
    dog, tree = picture("dog", 5, 5), picture("tree", 5, 5)
    cases = [Case(i, caption, 1, "everywhere") for i, caption in enumerate([*CAPTIONS, "a house"])]
    found = objects_kept(study, cases, [dog, dog, tree, tree], [everything] * 4)
    assert found == [0.0, 1.0, 0.5, None]
    assert objects_kept(study, cases, [everything] * 4, [dog, dog, tree, tree]) == [None, 1.0, 1.0, None]


def test_the_target_of_a_spatial_edit_has_no_place_to_keep(study):
    """The dog stays at half of its place; the tree has gone where it was asked to go."""
    before = picture("dog", 5, 5) + picture("dog", 5, 6) + picture("tree", 0, 0)
    after = picture("dog", 5, 6) + picture("tree", 7, 7)
    cases = [Case(i, caption, 1, "top_left") for i, caption in enumerate([*CAPTIONS, "a house"])]
    things = NamedThings(study, cases, [before] * 4, target="tree")
    kept = things.judged([after] * 4)
    assert kept.ious() == [None, 0.5, 0.5, None]
    assert kept.fidelities() == [1.0, 1.0, 1.0, None]
    assert NamedThings(study, cases, [before] * 4).judged([after] * 4).ious() == [0.0, 0.5, 0.25, None]
    assert things.judged([before] * 4).ious() == [None, 1.0, 1.0, None]
    assert things.judged([picture("night", 1, 1)] * 4).fidelities() == [0.0, 0.0, 0.0, None]  # the look is no thing


def test_an_image_that_many_cases_share_is_looked_at_once(study, monkeypatch):
    looked = []
    monkeypatch.setattr(
        Judge, "object_map", lambda self, images, label: looked.append(len(images)) or np.zeros((len(images), 8, 8))
    )
    shared, other = picture("dog", 5, 5), picture("dog", 5, 5)
    NamedThings(study, [Case(1, "a dog", 1, region) for region in "abc"], [shared, shared, other])
    assert looked == [2]
