"""What an edit writes: concepts, norms and seeds of a study's sites, at one block or several, beside its controls."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from concepts.cases import Case
from concepts.edit_controls import (
    CONCEPTS,
    CONTROLS,
    NEURONS,
    RANDOM,
    RANDOM_CONCEPTS,
    SWITCHED,
    UNRELATED,
    UNTRAINED,
    WRONG_REGION,
    edited,
    opposite,
)
from concepts.effects import region_mask
from concepts.interventions import ConceptEdit, random_direction
from concepts.settings import REGIONS
from diffusion.edits import Switch
from diffusion.times import in_window
from sae.model import TopKSAE
from study import at
from study.config import load_config
from study.errors import StudyError
from study.study import Study
from study.units import PlannedEdit
from tasks import directions
from tasks.directions import Directions, target_cids, unit_norm
from tasks.editor import Editor, Place, Recipe, direction_seed, places_of, served
from tasks.train import site_statistics, training_source
from tests.parts import add_part, label_row
from tests.paths import ROOT

CONFIG = ROOT / "configs" / "tiny.yaml"
TREE = PlannedEdit("spatial", "tree", "early")


@pytest.fixture
def study(tmp_path):
    return Study(str(tmp_path), load_config(CONFIG, []), "hash")


def test_an_edit_uses_the_concepts_that_are_best_on_the_selection_half(study):
    """Of the SAE that serves its window, and no other: two of them, as the configuration has it."""
    rows = [label_row(0, 0.2, iou=0.9), label_row(1, 0.4), label_row(2, 0.3), label_row(3, 0.1)]
    rows += [label_row(4, 0.9, n_co_selection=0), label_row(5, 0.9, lift_selection=1.0)]
    elsewhere = {"block": "up", "t": 0.0, "conditioning": "uncond", "k": 8, "kind": "untrained", "label": "sky"}
    rows += [label_row(6 + i, 0.9, **{name: value}) for i, (name, value) in enumerate(elsewhere.items())]
    add_part(study.root, "concept_labels", "a", rows)
    mid = [study.at(("mid", t, "cond"), 4) for t in (1.0, 0.0)]
    assert target_cids(mid[0], "tree") == [1, 2]
    assert target_cids(mid[1], "tree") == [7]
    assert target_cids(mid[0], "sky") == [11] and target_cids(mid[0], "tree", "untrained") == [10]
    assert target_cids(mid[0], "house") == []


def sites_of(config, edit, tmp_path, **change):
    study = Study(str(tmp_path), load_config(CONFIG, config), "hash")
    recipe = dataclasses.replace(Recipe.of(study, edit, 2.0), **change)
    return [(tuple(place.here.site), place.t_low, place.t_high) for place in places_of(study, recipe, {})]


def test_each_kind_of_edit_has_its_blocks_halves_and_window(tmp_path):
    sepia = PlannedEdit("global", "sepia", "final")
    assert sites_of([], TREE, tmp_path) == [(("mid", 1.0, "cond"), 0.6, 1.0)]
    assert sites_of(["interventions.global_block=up"], sepia, tmp_path) == [(("up", 0.0, "cond"), 0.0, 0.2)]
    both = ["interventions.spatial_block=[mid, up]", "interventions.halves=both", "sites.conditionings=[cond, uncond]"]
    assert [site for site, _, _ in sites_of(both, TREE, tmp_path)] == [
        (block, 1.0, half) for block in ("mid", "up") for half in ("uncond", "cond")
    ]


def test_every_step_is_served_by_the_nearest_time(tmp_path):
    assert served(0.0, 1.0, (1.0, 0.5, 0.0)) == [(0.0, 0.25, 0.0), (0.25, 0.75, 0.5), (0.75, 1.0, 1.0)]
    assert served(0.3, 0.7, (1.0, 0.5, 0.0)) == [(0.3, 0.7, 0.5)]
    assert served(0.2, 0.6, (0.0,)) == [(0.2, 0.6, 0.0)]
    steps = [i / 16 for i in range(17)]
    for low, high in ((0.0, 1.0), (0.2, 0.6), (0.1, 0.26)):
        parts = served(low, high, (1.0, 0.5, 0.0))
        assert [sum(in_window(t, a, b) for a, b, _ in parts) for t in steps] == [in_window(t, low, high) for t in steps]
    whole = sites_of([], TREE, tmp_path, t_low=0.0, times=(1.0, 0.0))
    assert whole == [(("mid", 0.0, "cond"), 0.0, 0.5), (("mid", 1.0, "cond"), 0.5, 1.0)]


def test_every_case_has_a_random_direction_of_its_own(study):
    """A hash of the study's seed, the edit, the prompt and the region, and of nothing else."""
    case = Case(3, "a tree", 5, "top_left")
    seed = direction_seed(study, TREE.name, case)
    digest = hashlib.blake2b(b"0/spatial-tree-early/3/top_left", digest_size=8).hexdigest()
    assert seed == int(digest, 16) // 2
    assert direction_seed(study, TREE.name, Case(3, "another caption", 6, "top_left")) == seed
    other = Study(study.root, load_config(CONFIG, ["seed=1"]), "hash")
    seeds = {seed, direction_seed(other, TREE.name, case)}
    seeds |= {direction_seed(study, TREE.name, Case(4, "a tree", 5, "top_left"))}
    seeds |= {direction_seed(study, TREE.name, Case(3, "a tree", 5, "top_right"))}
    for unit in (("spatial", "tree", "final"), ("spatial", "house", "early"), ("global", "tree", "early")):
        seeds |= {direction_seed(study, PlannedEdit(*unit).name, case)}
    assert len(seeds) == 7


class Stored:
    """A store of one site whose updates in prompt p are all 1000 (p + 1): 2 x 3 cells of 4 channels, so norms twice."""

    shard_size = 8

    def shape(self, site):
        return 2, 3, 4

    def read(self, site, start, stop):
        assert site == ("mid", 1.0, "cond")
        return np.repeat(1000 * np.arange(start + 1, stop + 1), 24).reshape(-1, 2, 3, 4).astype(np.float16)


def test_the_unit_of_strengths_is_the_norm_of_the_train_split_kept_beside_the_saes(study, monkeypatch):
    """Prompts 0 to 15, 1 + 4 + ... + 256 = 1496, of halves whose squares do not fit into a half."""
    monkeypatch.setattr(at, "store_of", lambda study: Stored())
    here = study.at(("mid", 1.0, "cond"))
    with pytest.raises(StudyError, match=r"statistics.safetensors is missing or damaged: run `concepts repair"):
        unit_norm(here)
    site_statistics(here, training_source(here))
    assert unit_norm(here) == pytest.approx(1000 * 2 * np.sqrt(1496 / 16))
    monkeypatch.setattr(at, "store_of", lambda study: None)  # and the activations may be gone by then
    assert unit_norm(here) == pytest.approx(1000 * 2 * np.sqrt(1496 / 16))


def place(study, unit, control):
    """A place of planted concepts: latent c reads and writes channel c alone, with vectors of length c + 1."""
    sae = TopKSAE(4, 4, 2)
    with torch.no_grad():
        sae.W_enc.copy_(torch.diag(1 / torch.arange(1.0, 5)))
        sae.W_dec.copy_(torch.diag(torch.arange(1.0, 5)))
    made = Place.__new__(Place)  # reading the SAE from a study needs a trained one
    made.recipe = Recipe.of(study, unit, 2.0, control)
    made.t_low, made.t_high = made.recipe.t_low, made.recipe.t_high
    made.directions = Directions(study.at(("mid", 1.0, "cond"), 4), unit.kind, unit.target)
    made.directions.sae, made.directions.cids = sae, [0, 3]
    made.concepts = ConceptEdit(sae.concept_vectors().detach(), torch.tensor([0, 3]), 2.0, control)
    return made


def edit_of(study, unit, control, batch):
    return place(study, unit, control).edit(batch, [direction_seed(study, unit.name, case) for case in batch])


BATCH = [Case(3, "a tree", 5, "top_left"), Case(3, "a tree", 5, "bottom_right")]


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM, WRONG_REGION])
def test_a_spatial_edit_raises_its_region_and_clears_the_rest(study, monkeypatch, control):
    """Each image its own region and direction. Of channels 0 and 3 that the concepts write, TopK keeps two of four."""
    monkeypatch.setattr(at, "store_of", lambda study: Stored())  # of which the grid is asked
    edit = edit_of(study, TREE, control, BATCH)
    assert (edit.module, edit.t_low, edit.t_high) == ("mid_block.attentions.0", 0.6, 1.0)
    delta = torch.tensor([9.0, 0.5, -1.0, 16.0]).expand(2, 2, 3, 4)  # codes 9, 1/4, 0 and 4: the edited ones are on
    change = (edit.apply(delta, 1.0) - delta).detach()
    for i, case in enumerate(BATCH):
        asked = opposite(case.region) if control == WRONG_REGION else case.region
        region = torch.from_numpy(region_mask(asked, 2, 3))
        direction = torch.tensor([1.0, 0, 0, 1.0]) / np.sqrt(2)
        written = torch.tensor([9.0, 0, 0, 16.0])
        if control == RANDOM:
            direction = random_direction(4, direction_seed(study, TREE.name, case))
            written = np.sqrt(81.0 + 256.0) * direction
        assert torch.allclose(change[i][region], 2 * direction, atol=1e-5)
        assert torch.allclose(change[i][~region], -written, atol=1e-5)


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM])
def test_a_global_edit_raises_every_cell(study, monkeypatch, control):
    monkeypatch.setattr(at, "store_of", lambda study: Stored())  # of which the width is asked
    unit, batch = PlannedEdit("global", "night", "final"), [Case(p, "a tree", 5, "everywhere") for p in (3, 4)]
    edit = edit_of(study, unit, control, batch)
    assert (edit.module, edit.t_low, edit.t_high) == ("mid_block.attentions.0", 0.0, 0.2)
    delta = torch.randn(2, 2, 3, 4)
    change = (edit.apply(delta, 0.1) - delta).detach()
    for i, case in enumerate(batch):
        direction = torch.tensor([1.0, 0, 0, 1.0]) / np.sqrt(2)
        if control == RANDOM:
            direction = random_direction(4, direction_seed(study, unit.name, case))
        assert torch.allclose(change[i], (2 * direction).expand(2, 3, 4), atol=1e-5)


def test_a_switched_prompt_asks_for_the_target_in_the_window(tmp_path):
    phrases = ["atlas.phrases={night: '{caption} at night'}"]
    study = Study(str(tmp_path), load_config(CONFIG, phrases), "hash")
    batch = [Case(3, "a tree", 5, "everywhere"), Case(4, "a dog", 6, "everywhere")]
    for target, asked in (("night", "a tree at night"), ("sepia", "a tree, sepia")):
        recipe = Recipe.of(study, PlannedEdit("global", target, "early"), 2.0, SWITCHED)
        (switch,) = Editor(study, recipe).interventions(batch)
        assert isinstance(switch, Switch) and switch.captions[0] == asked and switch.images == (0, 1)
        assert (switch.t_low, switch.t_high, switch.module) == (0.6, 1.0, None)


def test_which_kind_has_which_control():
    both = set(CONTROLS) - {SWITCHED, WRONG_REGION}
    assert set(edited(tuple(CONTROLS), "spatial")) == {CONCEPTS, WRONG_REGION, *both}
    assert set(edited(tuple(CONTROLS), "global")) == {CONCEPTS, SWITCHED, *both}
    assert edited((RANDOM,), "global") == (CONCEPTS, RANDOM)
    assert {opposite(region) for region in REGIONS} == set(REGIONS)
    for region in REGIONS:
        assert not (region_mask(region, 4, 4) & region_mask(opposite(region), 4, 4)).any()
        assert opposite(opposite(region)) == region


def planted(study, monkeypatch):
    """Labels of mid at t = 1: 0 and 3 carry tree, 1 carries house, 2 carries neither; neurons 6 carries tree."""
    rows = [label_row(0, 0.5), label_row(3, 0.4), label_row(1, 0.5, label="house")]
    rows += [label_row(6, 0.5, kind="neurons"), label_row(2, 0.3, kind="untrained")]
    add_part(study.root, "concept_labels", "a", rows)
    monkeypatch.setattr(at, "store_of", lambda study: Stored())
    here = study.at(("mid", 1.0, "cond"), 4)
    made = Directions(here, "spatial", "tree")
    made.sae = TopKSAE(4, 4, 2)
    with torch.no_grad():
        made.sae.W_dec.copy_(torch.diag(torch.arange(1.0, 5)))
    made._densities = np.array([0.1, 0.2, 0.15, 0.1])
    monkeypatch.setattr(type(here), "sae", lambda self, kind: made.sae)
    return made


def test_directions_of_controls(tmp_path, monkeypatch):
    study = Study(str(tmp_path), load_config(CONFIG, ["interventions.objects=[tree, boat, house]"]), "hash")
    made = planted(study, monkeypatch)
    axes = torch.eye(4)
    assert torch.allclose(made.of(CONCEPTS, 1), (axes[0] + axes[3]) / np.sqrt(2))
    assert torch.equal(made.of(WRONG_REGION, 1), made.of(CONCEPTS, 2))
    assert torch.allclose(made.of(UNRELATED, 1), axes[1])  # no concept carries boat, the next one: house
    assert torch.allclose(made.of(NEURONS, 1), -axes[2])  # feature 6 of 2 x 4 is channel 2 below its mean
    assert torch.allclose(made.of(UNTRAINED, 1), axes[2])
    drawn = {tuple(made.of(RANDOM_CONCEPTS, seed).detach().round(decimals=3).tolist()) for seed in range(20)}
    assert drawn == {tuple(((axes[1] + axes[2]) / np.sqrt(2)).round(decimals=3).tolist())}  # all that is left
    assert torch.equal(made.of(RANDOM, 7), random_direction(4, 7))


def test_a_control_that_nothing_carries_is_one_sentence(study, monkeypatch):
    made = planted(study, monkeypatch)
    made.target = "boat"
    with pytest.raises(StudyError, match=r"no feature of 'neurons' carries 'boat' at mid/1.00/cond: leave that"):
        made.of(NEURONS, 1)
    made.target = "house"
    made.kind = "global"
    with pytest.raises(StudyError, match="'unrelated_concept' needs a second global target that concepts carry"):
        made.of(UNRELATED, 1)


def test_another_recipe_asks_nothing_again_that_the_first_has_asked(study, monkeypatch):
    asked = []
    monkeypatch.setattr(directions, "target_cids", lambda here, target: asked.append(here.site) or [0])
    recipe = dataclasses.replace(Recipe.of(study, TREE, 2.0), times=(1.0, 0.0), t_low=0.0)
    first = Editor(study, recipe)
    again = first.again(dataclasses.replace(recipe, control=RANDOM, t_high=0.4))
    assert asked == [("mid", 0.0, "cond"), ("mid", 1.0, "cond")]
    assert again.beginnings is first.beginnings and again.recipe.control == RANDOM
    assert [(p.here.site.t, p.t_high) for p in again.places] == [(0.0, 0.4)] and first.recipe is recipe
    assert again.places[0].directions is first.places[0].directions and len(first.places) == 2
    with pytest.raises(AssertionError, match="directions are of a target"):
        first.again(dataclasses.replace(recipe, target="house"))
