"""What captions name and images show, and noise of the seeds, on the tables of a study filled by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

import tasks.nouns
from concepts.layout import Masks
from study.config import load_config
from tasks.layout_alone import others_named
from tasks.nouns import Nouns, Split
from tests.paths import ROOT

GRID, PIXELS = (1, 2), 8  # cells of four pixels
CAPTIONS = {
    "dictionary": ["a dog and a cat", "two dogs", "a dog at night", "sky, a dog", "a cat, a dog", "a cat"],
    "layout": ["a dog", "a cat and a dog", "dogs and dogs", "a catalogue"],
}
SHOWN = {  # prompt id -> label -> pixels in each cell
    0: {"dog": [4, 0], "cat": [0, 2], "sky": [1, 1]},
    1: {"dog": [3, 0]},
    2: {"dog": [2, 0], "night": [4, 4]},
    3: {"dog": [1, 0], "sky": [4, 3]},
    4: {"cat": [0, 1]},
    6: {"dog": [4, 4]},
    7: {"dog": [0, 3], "cat": [1, 0]},
    8: {"dog": [0, 4]},
    9: {"cat": [1, 1]},
}
LABELS = ["cat", "dog", "night", "sky"]


@pytest.fixture
def here(monkeypatch):
    """A site of two shards, the second split beginning within one."""
    config = load_config(ROOT / "configs" / "tiny.yaml", ["layout.min_images=2", "layout.fit_images=3"])
    study = SimpleNamespace(config=config)
    every = [caption for captions in CAPTIONS.values() for caption in captions]

    def areas(start, stop):
        found = {i: SHOWN[i] for i in range(start, stop) if i in SHOWN}
        return {i: {label: np.array(area) for label, area in of.items()} for i, of in found.items()}

    captions = SimpleNamespace
    runs = {"dictionary": [(0, 4), (4, 6)], "layout": [(6, 10)]}
    monkeypatch.setattr(tasks.nouns, "split_runs", lambda _study, split: runs[split])
    monkeypatch.setattr(tasks.nouns, "image_area", lambda _study: PIXELS)
    monkeypatch.setattr(tasks.nouns, "study_labels", lambda _study: LABELS)
    monkeypatch.setattr(
        tasks.nouns,
        "prompts_of_split",
        lambda _study, split: {"caption": captions(to_pylist=lambda: every[runs[split][0][0] : runs[split][-1][1]])},
    )
    return SimpleNamespace(study=study, grid=GRID, store=SimpleNamespace(shard_size=4), areas=areas)


def test_a_split_takes_what_the_caption_names_and_a_segment_shows(here):
    """Image 2's night and 6's dog fill the image; image 0's sky is in no caption, image 5's cat in no segment."""
    split = Split(here, "dictionary", LABELS)
    found = {label: (m.prompt_ids.tolist(), m.areas_IC.tolist()) for label, m in split.masks.items()}
    assert found == {
        "cat": ([0, 4], [[0, 2], [0, 1]]),
        "dog": ([0, 1, 2, 3], [[4, 0], [3, 0], [2, 0], [1, 0]]),
        "sky": ([3], [[4, 3]]),
    }
    assert split.undetected == {"dog": [4], "cat": [5]}
    assert split.named[0] == ["cat", "dog"] and split.named[2] == ["dog", "night"]
    assert {i: {label: area.tolist() for label, area in of.items()} for i, of in split.areas.items()} == {
        0: {"cat": [0, 2], "dog": [4, 0]},
        1: {"dog": [3, 0]},
        2: {"dog": [2, 0]},
        3: {"dog": [1, 0], "sky": [4, 3]},
        4: {"cat": [0, 1]},
    }
    tested = Split(here, "layout", LABELS)
    assert tested.masks["dog"].prompt_ids.tolist() == [7, 8] and tested.undetected == {}


def test_the_labels_that_are_scored_are_in_enough_images_of_both_splits(here):
    nouns = Nouns(here)
    assert nouns.scored == ["dog"] and nouns.cell_pixels == 4
    assert nouns.dictionary.masks["dog"].prompt_ids.tolist() == [0, 1, 2]  # the first that are fitted
    assert nouns.groups() == {"* large": ["dog"]}  # nine of three images' 24 pixels


def test_the_other_nouns_of_a_caption_are_those_it_names(here):
    split = Split(here, "dictionary", LABELS)
    found = others_named(split, split.masks["dog"], ["cat", "night", "sky"])
    assert found.tolist() == [[True, False, False], [False] * 3, [False, True, False], [False, False, True]]
    assert others_named(split, Masks(np.array([1]), np.zeros((1, 2))), []).shape == (1, 0)
