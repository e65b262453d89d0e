"""What other captions ask for, and the interventions by which a block is traced."""

import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from concepts.cases import Case
from diffusion.edits import Patch, Switch
from study.config import load_config
from study.study import Study
from tasks import trace
from tasks.trace import Pair, Tracer, pairs_of, renamed
from tests.paths import ROOT

SETTINGS = ["interventions.objects=[tree, boat]", "interventions.styles=[night, sepia]", "atlas.trace_prompts=2"]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", SETTINGS), "hash")


def test_one_object_takes_anothers_place():
    assert renamed("a red Boat and a boat on the water", "boat", "tree") == "a red tree and a boat on the water"
    assert renamed("two boats", "boat", "tree") == "two trees"
    assert renamed("a lifeboat", "boat", "tree") == "a lifeboat"


def test_every_target_has_the_first_prompts(study, monkeypatch):
    cases = [(o, Case(i, f"a {o} {i}", i, "everywhere")) for i, o in enumerate(["tree", "boat", "tree", "tree"])]
    monkeypatch.setattr(trace, "fitting_cases", lambda study, kind: iter(cases))
    looks = pairs_of(study, "global")
    assert [(p.target, p.case.prompt_id, p.other) for p in looks] == [
        ("night", 0, "a tree 0, night"),
        ("night", 1, "a boat 1, night"),
        ("sepia", 0, "a tree 0, sepia"),
        ("sepia", 1, "a boat 1, sepia"),
    ]
    assert [(p.target, p.case.prompt_id, p.other) for p in pairs_of(study, "spatial")] == [
        ("boat", 0, "a boat 0"),
        ("boat", 2, "a boat 2"),
        ("tree", 1, "a tree 1"),
    ]


@pytest.mark.parametrize("method", ["switch", "patch"])
def test_sets_of_blocks_are_traced_side_by_side(study, method):
    tracer = Tracer.__new__(Tracer)
    tracer.method = method
    pairs = [Pair(Case(i, "a tree", i, "everywhere"), f"a boat {i}", "boat") for i in range(3)]
    made = list(tracer._interventions([("x", "y"), ("z",)], pairs, 0.2, 0.6))
    assert [(one.module, one.t_low, one.t_high, one.images) for one in made] == [
        *((block, 0.2, 0.6, (0, 1, 2)) for block in ("x", "y")),
        ("z", 0.2, 0.6, (3, 4, 5)),
    ]
    for one in made:
        if method == "switch":
            assert isinstance(one, Switch) and one.captions == ("a boat 0", "a boat 1", "a boat 2")
        else:
            assert isinstance(one, Patch) and one.sources == (6, 7, 8) and one.half == "cond" and one.share is None


@pytest.mark.parametrize(("method", "batch_size"), [("switch", 5), ("patch", 5), ("patch", 1), ("patch", 64)])
def test_every_image_goes_to_its_pair_and_set(study, monkeypatch, method, batch_size):
    """An image is told by its caption, seed and the blocks that something is done at; none but the pairs' is kept."""
    sampling = study.config.sampling.model_copy(update={"batch_size": batch_size})
    config = study.config.model_copy(update={"sampling": sampling})
    tracer = Tracer.__new__(Tracer)
    tracer.study, tracer.method, tracer.model = Study(study.root, config, "hash"), method, None
    tracer.beginnings = None
    tracer.pairs = [Pair(Case(i, f"a tree {i}", i, "everywhere"), f"a boat {i}", "boat") for i in range(4)]
    largest = []

    class Made:
        def __init__(self, images):
            self.images = images

    def sample(model, captions, seeds, settings, edits, beginnings):
        largest.append(len(captions))
        done = [sorted(one.module for one in edits if row in one.images) for row in range(len(captions))]
        told = [
            tuple(one.captions[one.images.index(r)] for one in edits if r in one.images)
            if method == "switch"
            else tuple(captions[one.sources[one.images.index(r)]] for one in edits if r in one.images)
            for r in range(len(captions))
        ]
        return Made([(c, s, d, o) for c, s, d, o in zip(captions, seeds, done, told, strict=True)])

    monkeypatch.setattr(trace, "sample", sample)
    sets = [("x",), ("y",), ("x", "y"), ("z",)]
    tried = dict(tracer._tried(sets, 0.0, 1.0))
    assert list(tried) == sets
    for blocks, images in tried.items():
        assert images == [(f"a tree {i}", i, sorted(blocks), (f"a boat {i}",) * len(blocks)) for i in range(4)]
    assert max(largest) <= max(batch_size, 2 if method == "patch" else 1)


def test_images_are_judged_as_they_are_made_and_not_kept(study, monkeypatch):
    """Forty sets of which one is kept: at no moment are the images of more than one batch's sets alive."""
    sampling = study.config.sampling.model_copy(update={"batch_size": 8})
    config = study.config.model_copy(update={"sampling": sampling})
    tracer = Tracer.__new__(Tracer)
    tracer.study, tracer.method, tracer.kind, tracer.model = Study(study.root, config, "hash"), "patch", "spatial", None
    tracer.beginnings, tracer.told, tracer.blocks = None, {}, ("a", "b")
    tracer.pairs = [Pair(Case(i, "a tree", i, "everywhere"), "a boat", "boat") for i in range(2)]
    tracer.before, tracer.seen_before = [np.zeros((4, 4, 3), np.uint8)] * 2, np.zeros(2)
    alive = weakref.WeakSet()

    class Images(np.ndarray):
        """As arrays, which a weak set cannot hold by their contents."""

        __hash__ = object.__hash__

    def sample(model, captions, seeds, settings, edits=(), beginnings=None):
        made = np.full((len(captions), 4, 4, 3), len(edits), np.uint8).view(Images)
        alive.add(made)
        assert len(alive) <= 4, "some that loops have not let go of yet, of twenty batches"
        return SimpleNamespace(images=made)

    monkeypatch.setattr(trace, "sample", sample)
    monkeypatch.setattr(Tracer, "_seen", lambda self, images: np.array([float(image.max()) / 100 for image in images]))
    sets = [(f"block{number}",) for number in range(40)]
    effects = tracer.effects(sets)
    assert list(effects) == sets and all(len(of_set) == 2 for of_set in effects.values())
    assert [row["blocks"] for row in tracer.told[sets[7]]] == ["block7", "block7"]
