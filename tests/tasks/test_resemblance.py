"""Similarity and LPIPS of edited images: asked where the settings say so, of the right images, after less before."""

from types import SimpleNamespace

import numpy as np
import pytest

from study.config import load_config
from study.errors import StudyError
from study.study import Study
from tasks import resemblance
from tasks.resemblance import resemblances, words_of
from tests.parts import add_part, label_row
from tests.paths import ROOT


class Judge:
    def similarity(self, images, words):
        return np.array([image.mean() / 255 for image in images], np.float32) / len(words)


class Distance:
    def distances(self, images, originals):
        return [float(abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(images, originals, strict=True)]


def study(similarity, lpips):
    edits = SimpleNamespace(similarity=similarity, lpips=lpips)
    return SimpleNamespace(config=SimpleNamespace(interventions=edits, vision=SimpleNamespace(transformers=None)))


@pytest.fixture
def judged(monkeypatch):
    asked = []
    monkeypatch.setattr(resemblance, "backend_of", lambda study: SimpleNamespace(judge=Judge()))
    monkeypatch.setattr(resemblance, "_perceptual", lambda *given: asked.append(given) or Distance())
    return asked


AFTER = [np.full((2, 2, 3), level, np.uint8) for level in (255, 51)]
BEFORE = [np.full((2, 2, 3), 102, np.uint8)] * 2


def test_the_rise_is_after_less_before(judged):
    found = resemblances(study(True, "vgg"), ["night", "dark"], AFTER, BEFORE)
    assert [row["similarity_rise"] for row in found] == pytest.approx([0.3, -0.1])
    assert [row["lpips"] for row in found] == [153.0, 51.0] and judged == [("vgg", "cpu")]


def test_what_is_not_asked_for_is_none(judged):
    assert resemblances(study(False, None), [], AFTER, BEFORE) == [{"similarity_rise": None, "lpips": None}] * 2
    assert resemblances(study(True, "alex"), ["night"], [], []) == [] == judged


def test_a_judge_without_words_is_one_sentence(monkeypatch):
    monkeypatch.setattr(resemblance, "backend_of", lambda study: SimpleNamespace(judge=object()))
    with pytest.raises(StudyError, match=r"interventions.similarity is set, but the judge of this backend"):
        resemblances(study(True, None), ["night"], AFTER, BEFORE)


def test_the_words_are_those_in_the_lists_of_the_edited_concepts(tmp_path):
    here = Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", []), "hash").at(("mid", 1.0, "cond"), 4)
    rows = [label_row(0, 0.5, label="night"), label_row(0, 0.5, label="dark"), label_row(1, 0.5, label="moon")]
    rows += [label_row(1, 0.5, label="sun", paper_assigned=False), label_row(2, 0.5, label="tree")]
    add_part(tmp_path, "concept_labels", "a", [*rows, label_row(0, 0.5, label="old", kind="untrained")])
    assert words_of(here, "night", [0, 1]) == ["dark", "moon", "night"]
    assert words_of(here, "night", [7]) == ["night"]
