"""Backends and taggers of other packages, found through real entry points of a package on sys.path."""

import sys

import numpy as np
import pytest

from vision.backend import load_backend
from vision.errors import VisionError
from vision.settings import VisionSettings
from vision.types import Tag

MODULE = """
from vision.types import Backend, Tag

class Whole:
    def __init__(self, settings):
        self.word = settings.plugin["word"]
    def tag(self, images, captions):
        return [[Tag(self.word, settings_score)] for _ in images]

settings_score = 0.5

def backend(settings):
    part = Whole(settings)
    return Backend("mine", part, None, None, None)

def nan(settings):
    class Nan:
        def tag(self, images, captions):
            return [[Tag("tree", float("nan"))] for _ in images]
    return Nan()

def short(settings):
    class Short:
        def tag(self, images, captions):
            return []
    return Short()

def no_backend(settings):
    return "nothing"
"""
ENTRIES = """[concept_atlas.vision]
mine = my_plugin:backend
wrong = my_plugin:no_backend
broken = my_plugin_that_is_not_there:backend

[concept_atlas.taggers]
words = my_plugin:Whole
nan = my_plugin:nan
short = my_plugin:short
"""


def install(folder, name, entries):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "my_plugin.py").write_text(MODULE)
    install(tmp_path, "my-plugin", ENTRIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("my_plugin", None)


def test_a_backend_is_found_and_gets_its_settings(package):
    backend = load_backend(VisionSettings(backend="mine", plugin={"word": "tree"}))
    assert backend.name == "mine" and backend.opinion is None
    assert backend.tagger.tag([None], [""]) == [[Tag("tree", 0.5)]]


def test_a_tagger_is_found_and_needs_no_vocabulary(package, settings, images):
    given = settings(tagger="plugin:words", vocabulary=(), plugin={"word": "car"})
    assert load_backend(given).tagger.tag(images, [""] * 3) == [[Tag("car", 0.5)]] * 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("other", r"vision.backend names 'other'.*known: broken, mine, mini, transformers, wrong.*pip install PACKAGE"),
        ("wrong", "'wrong': its plug-in returned a str, it must return a vision.types.Backend"),
        ("broken", "cannot be imported .ModuleNotFoundError.*my_plugin_that_is_not_there.*reinstall"),
    ],
)
def test_backends_that_cannot_be_had_are_named(package, name, says):
    with pytest.raises(VisionError, match=says):
        load_backend(VisionSettings(backend=name))


def test_a_name_that_two_packages_offer_is_refused(package):
    install(package, "other-plugin", "[concept_atlas.vision]\nmine = my_plugin:no_backend\n")
    with pytest.raises(VisionError, match="my-plugin and other-plugin both offer 'mine'"):
        load_backend(VisionSettings(backend="mine"))


@pytest.mark.parametrize("name", ["ram", "ram++"])
def test_ram_says_where_it_is_to_be_had(settings, name):
    with pytest.raises(VisionError, match=r"tagger names 'ram.*known: caption, fixed, zero-shot.*recognize-anything"):
        load_backend(settings(tagger=f"plugin:{name}"))


@pytest.mark.parametrize(("name", "says"), [("nan", "'nan' gives NaN .* 'tree'"), ("short", "0 lists for 3 images")])
def test_a_taggers_answers_are_checked(package, settings, images, name, says):
    tagger = load_backend(settings(tagger=f"plugin:{name}")).tagger
    with pytest.raises(VisionError, match=says):
        tagger.tag(images, [""] * 3)
    with pytest.raises(VisionError, match="must be uint8"):
        tagger.tag([np.zeros((4, 4))], [""])
