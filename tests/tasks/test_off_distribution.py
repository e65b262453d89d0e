"""How far off an edit drives activations: against recorded activations and numpy's inverse."""

import dataclasses

import numpy as np
import pytest
import torch

from concepts.cases import Case
from concepts.distribution import RIDGE, Distribution
from diffusion.edits import Edit
from diffusion.sampling import Beginnings, SitesToRecord, sample
from study.config import load_config
from study.models import borrowed_model
from study.study import Study
from study.units import PlannedEdit
from tasks import fits, off_distribution
from tasks.editor import Editor, Recipe
from tasks.off_distribution import Readings, gauges_of
from tests.paths import ROOT

CASES = [Case(i, caption, 10 + i, "everywhere") for i, caption in enumerate(["a boat", "a tree on the grass", "a dog"])]
WATCHED = (1.0, 2 / 3)  # the early window's, of the tiny study's four steps


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", ["sampling.batch_size=2"]), "hash")


def vectors(site):
    """Other ones for each block, of its width: far more varied in the first channels than in the last."""
    width = {"mid": 128, "up": 64}[site.block]
    rng = np.random.default_rng(width)
    return (rng.normal(size=(2000, width)) * np.geomspace(10, 0.5, width)).astype(np.float32)


@pytest.fixture(autouse=True)
def fitted(monkeypatch):
    asked = []
    monkeypatch.setattr(fits, "fit_vectors", lambda here: asked.append(here.site) or vectors(here.site))
    off_distribution.distribution_of.forget()
    yield asked
    off_distribution.distribution_of.forget()  # they are of no study's vectors


class Planted(Editor):
    """An editor of one block by any function of the update."""

    def __init__(self, study, apply, block="mid"):
        self.study, self.beginnings, self.change = study, Beginnings(), apply
        recipe = Recipe.of(study, PlannedEdit("global", "night", "early"), 2.0)
        self.recipe = dataclasses.replace(recipe, blocks=(block,))

    def interventions(self, batch):
        module = self.study.config.sites.blocks[self.recipe.blocks[0]]
        return [Edit(module, self.recipe.t_low, self.recipe.t_high, lambda delta, t: self.change(delta))]


def off(study, apply, block="mid", cases=CASES):
    editor = Planted(study, apply, block)
    gauges = gauges_of(study, editor.recipe)
    usual, edited = Readings(gauges), Readings(gauges)
    editor.look(cases, usual.watches)
    editor.run(cases, edited.watches)
    return edited.beside(usual)


def test_an_edit_of_nothing_leaves_everything_as_usual(study):
    """To the last bit; and watching changes no image."""
    found = off(study, lambda delta: delta)
    assert found == {"off_distribution": [1.0] * 3, "off_downstream": [1.0] * 3}
    editor = Planted(study, lambda delta: delta + 0.5)
    watched = editor.run(CASES, Readings(gauges_of(study, editor.recipe)).watches)
    plain = Planted(study, lambda delta: delta + 0.5).run(CASES)
    assert all(np.array_equal(a, b) for a, b in zip(watched, plain, strict=True))


def test_a_step_along_the_least_axis_goes_further_off_than_one_along_the_first(study):
    first, least = torch.zeros(2, 128)
    first[0] = least[-1] = 8.0
    near, far = (off(study, lambda delta, step=step: delta + step)["off_distribution"] for step in (first, least))
    assert all(n < f for n, f in zip(near, far, strict=True)) and min(far) > 1.2


def by_hand(study, apply):
    """Mean distances [blocks, cases] of recorded float16 activations, by the inverse of each ridged covariance."""
    blocks, edit = study.config.sites.blocks, Planted(study, apply).interventions([])
    with borrowed_model(study) as model:
        kept = sample(
            *(model, [c.caption for c in CASES], [c.seed for c in CASES], study.config.sampling),
            SitesToRecord(blocks, WATCHED), edit,
        ).activations  # fmt: skip
    means = []
    for block in blocks:
        found = []
        for t in WATCHED:
            x, site = kept[block, t, "cond"].astype(float), next(s for s in kept if s.block == block)
            fit = vectors(site).astype(float)
            covariance = np.cov(fit.T, bias=True)
            ridged = covariance + RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
            apart = x - fit.mean(0)
            squared = np.einsum("...i,ij,...j->...", apart, np.linalg.inv(ridged), apart)
            found.append(np.sqrt(squared).mean((1, 2)))
        means.append(np.mean(found, 0))
    return np.array(means)


def test_equals_the_distances_of_recorded_activations(study):
    def push(delta):
        return delta + torch.linspace(-1, 2, 128)

    found = off(study, push)
    at, after = by_hand(study, push) / by_hand(study, lambda delta: delta)
    assert found["off_distribution"] == pytest.approx(at, rel=2e-3)
    assert found["off_downstream"] == pytest.approx(after, rel=2e-3)
    assert min(found["off_distribution"]) > 1


def test_what_is_looked_at_are_the_edited_sites_and_the_studys_blocks_behind(study, fitted, tmp_path):
    recipe = Planted(study, None).recipe
    blocks = study.config.sites.blocks
    at = [(g.module, g.half, g.t_low, g.t_high, g.edited) for g in gauges_of(study, recipe)]
    assert at == [(blocks["mid"], "cond", 0.6, 1.0, True), (blocks["up"], "cond", 0.6, 1.0, False)]
    assert fitted == [("mid", 1.0, "cond"), ("up", 1.0, "cond")]
    gauges_of(study, recipe)
    assert len(fitted) == 2  # once in a process
    last = dataclasses.replace(recipe, blocks=("up",), t_low=0.0, times=(1.0, 0.0))
    assert [(g.module, g.t_low, g.edited) for g in gauges_of(study, last)] == [
        (blocks["up"], 0.0, True), (blocks["up"], 0.5, True),
    ]  # fmt: skip
    both = dataclasses.replace(recipe, blocks=("up", "mid"), halves=("uncond", "cond"))
    assert [(g.half, g.edited) for g in gauges_of(study, both)] == [("uncond", True), ("cond", True)] * 2


def test_where_nothing_comes_later_or_no_step_is_in_the_window_there_is_no_number(study):
    found = off(study, lambda delta: 2 * delta, "up")
    assert min(found["off_distribution"]) > 1 and found["off_downstream"] == [None] * 3
    editor = Planted(study, None)
    gauges = gauges_of(study, dataclasses.replace(editor.recipe, t_low=0.7, t_high=0.8))
    usual = Readings(gauges)
    usual.watches(2), usual.watches(1)
    assert usual.beside(usual) == {"off_distribution": [None] * 3, "off_downstream": [None] * 3}


def test_distributions_are_of_the_models_device(study, monkeypatch):
    moved = []
    monkeypatch.setattr(Distribution, "to", lambda self, device: moved.append(str(device)) or self)
    gauges_of(study, Planted(study, None).recipe)
    assert moved == ["cpu", "cpu"]
