"""What an edit is made of: a study's prompts, concepts, norms and seeds, and the closure that the sampler gets."""

import itertools

import pytest

from concepts.settings import REGIONS
from study.config import load_config
from study.study import Study
from study.units import PlannedEdit
from tasks import edits
from tasks.edits import cases_of, looks_of
from tests.paths import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"
TREE = PlannedEdit("spatial", "tree", "early")


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(CONFIG, []), "hash")


def prompt_rows(captions):
    return [{"prompt_id": i, "caption": caption, "seed": 10 * i} for i, caption in enumerate(captions)]


def test_spatial_edits_are_made_of_the_splits_prompts_that_name_the_object(study, monkeypatch):
    asked = []
    rows = prompt_rows(["three Trees", "a dog", "a street", "a tree at night"])
    monkeypatch.setattr(edits, "prompts_of_split", lambda _, split: asked.append(split) or Rows(rows))
    found = cases_of(study, "spatial", "tree", "dictionary", 2)
    assert asked == ["dictionary"]
    assert [(case.prompt_id, case.region) for case in found] == list(itertools.product((0, 3), REGIONS))
    assert {case.seed for case in found} == {0, 30}
    assert len(cases_of(study, "spatial", "tree", "dictionary", 1)) == 4


def test_global_edits_are_made_where_no_look_is_asked_for(study, monkeypatch):
    """Night alone is configured, but the judge of the scene world knows six more."""
    captions = ["a dog on the sand", "a mosaic of a dog", "at Sunset", "a night photo", "a tree in the snow", "a house"]
    start = sum(size for name, size in study.config.prompts.splits.items() if name in ("train", "dictionary", "layout"))
    rows = [
        {"prompt_id": start + i, "caption": c, "split": "style", "source_file": "", "source_row": i, "n_tokens": 5,
         "seed": i}
        for i, c in enumerate(captions)
    ]  # fmt: skip
    monkeypatch.setattr(edits, "prompts_of_split", lambda *_: Rows(rows))
    assert set(looks_of(study)) == {"night", "sketch", "painting", "sepia", "mosaic", "sunset", "overcast"}
    found = cases_of(study, "global", "night", "style", 10)
    assert [case.caption for case in found] == [captions[i] for i in (0, 4, 5)]
    assert {case.region for case in found} == {"everywhere"}
    monkeypatch.setattr(edits, "backend_of", lambda study: Open())
    assert looks_of(study) == ("night",)  # a judge without a closed list knows none by name


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def to_pylist(self):
        return self.rows


class Open:
    judge = object()
