"""What an edit is made of: a study's prompts, concepts, norms and seeds, and the closure that the sampler gets."""

import hashlib
import itertools

import numpy as np
import pytest
import torch

from concepts.cases import CONCEPTS, RANDOM, Case
from concepts.effects import region_mask
from concepts.interventions import ConceptEdit, random_direction
from concepts.settings import REGIONS
from sae.model import TopKSAE
from study import at
from study.config import load_config
from study.paths import split_range
from study.study import Study
from study.units import PlannedEdit
from tasks import edits
from tasks.edits import Editor, cases_of, dictionary_of, direction_seed, looks_of, target_cids, unit_norm
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
    assert target_cids(study, TREE) == [1, 2]
    assert target_cids(study, PlannedEdit("spatial", "tree", "final")) == [7]
    assert target_cids(study, PlannedEdit("global", "sky", "early")) == [11]
    assert target_cids(study, PlannedEdit("spatial", "house", "early")) == []


def test_each_kind_of_edit_may_have_a_block_of_its_own(tmp_path):
    plain = load_config(CONFIG, [])
    apart = load_config(CONFIG, ["interventions.global_block=up"])
    for config, expected in ((plain, ("mid", "mid")), (apart, ("mid", "up"))):
        study = Study(str(tmp_path), config, "hash")
        planned = [PlannedEdit(kind, "tree", "early") for kind in ("spatial", "global")]
        assert tuple(dictionary_of(study, edit).site.block for edit in planned) == expected
    moved = Study(str(tmp_path), load_config(CONFIG, ["interventions.spatial_block=up"]), "hash")
    assert dictionary_of(moved, PlannedEdit("spatial", "tree", "final")).site == ("up", 0.0, "cond")
    assert dictionary_of(moved, PlannedEdit("global", "tree", "final")).site == ("mid", 0.0, "cond")


def prompt_rows(captions):
    return [{"prompt_id": i, "caption": caption, "seed": 10 * i} for i, caption in enumerate(captions)]


def test_spatial_edits_are_made_of_the_splits_prompts_that_name_the_object(study, monkeypatch):
    asked = []
    rows = prompt_rows(["three Trees", "a dog", "a street", "a tree at night"])
    monkeypatch.setattr(edits, "prompts_of", lambda _, start, stop: asked.append((start, stop)) or Rows(rows))
    found = cases_of(study, "spatial", "tree", "dictionary", 2)
    assert asked == [split_range(study, "dictionary")] == [(16, 32)]
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
    monkeypatch.setattr(edits, "prompts_of", lambda *_: Rows(rows))
    assert set(looks_of(study)) == {"night", "sketch", "painting", "sepia", "mosaic", "sunset", "overcast"}
    found = cases_of(study, "global", "night", "style", 10)
    assert [case.caption for case in found] == [captions[i] for i in (0, 4, 5)]
    assert {case.region for case in found} == {"everywhere"}
    monkeypatch.setattr(edits, "backend_of", lambda study: Open())
    assert looks_of(study) == ("night",)  # a judge without a closed list knows none by name


def test_every_case_has_a_random_direction_of_its_own(study):
    """A hash of the study's seed, the edit, the prompt and the region, and of nothing else."""
    case = Case(3, "a tree", 5, "top_left")
    seed = direction_seed(study, TREE, case)
    digest = hashlib.blake2b(b"0/spatial-tree-early/3/top_left", digest_size=8).hexdigest()
    assert seed == int(digest, 16) // 2
    assert direction_seed(study, TREE, Case(3, "another caption", 6, "top_left")) == seed
    other = Study(study.root, load_config(CONFIG, ["seed=1"]), "hash")
    seeds = {seed, direction_seed(other, TREE, case)}
    seeds |= {direction_seed(study, TREE, Case(4, "a tree", 5, "top_left"))}
    seeds |= {direction_seed(study, TREE, Case(3, "a tree", 5, "top_right"))}
    for unit in (("spatial", "tree", "final"), ("spatial", "house", "early"), ("global", "tree", "early")):
        seeds |= {direction_seed(study, PlannedEdit(*unit), case)}
    assert len(seeds) == 7


class Stored:
    """A store of one site whose updates in prompt p are all p + 1: 2 x 3 cells of 4 channels, so norms 2 (p + 1)."""

    shard_size = 8

    def shape(self, site):
        return 2, 3, 4

    def read(self, site, start, stop):
        assert site == ("mid", 1.0, "cond")
        return np.repeat(np.arange(start + 1, stop + 1), 24).reshape(-1, 2, 3, 4).astype(np.float16)


def test_the_unit_of_strengths_is_measured_on_the_first_training_shard(study, monkeypatch):
    store = Stored()
    monkeypatch.setattr(at, "store_of", lambda study: store)
    assert unit_norm(study.at(("mid", 1.0, "cond"))) == pytest.approx(2 * np.sqrt(204 / 8))  # 1 + 4 + ... + 64 = 204
    store.shard_size = 99  # the split ends before the shard does: prompts 0 to 15 are its
    assert unit_norm(study.at(("mid", 1.0, "cond"))) == pytest.approx(2 * np.sqrt(1496 / 16))


def editor(study, unit, control):
    """An editor of planted concepts: latent c reads and writes channel c alone, with vectors of length c + 1."""
    sae = TopKSAE(4, 4, 2)
    with torch.no_grad():
        sae.W_enc.copy_(torch.diag(1 / torch.arange(1.0, 5)))
        sae.W_dec.copy_(torch.diag(torch.arange(1.0, 5)))
    made = Editor.__new__(Editor)  # reading the SAE from a study needs a trained one
    made.study, made.planned, made.sae, made.here = study, unit, sae, study.at(("mid", 1.0, "cond"))
    made.edit = ConceptEdit(sae.concept_vectors().detach(), torch.tensor([0, 3]), 2.0, control)
    return made


BATCH = [Case(3, "a tree", 5, "top_left"), Case(3, "a tree", 5, "bottom_right")]


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM])
def test_a_spatial_edit_raises_its_region_and_clears_the_rest(study, monkeypatch, control):
    """Each image its own region and direction. Of channels 0 and 3 that the concepts write, TopK keeps two of four."""
    monkeypatch.setattr(at, "store_of", lambda study: Stored())
    edit = editor(study, TREE, control)._edit(BATCH)
    assert (edit.module, edit.t_low, edit.t_high) == ("mid_block.attentions.0", 0.6, 1.0)
    delta = torch.tensor([9.0, 0.5, -1.0, 16.0]).expand(2, 2, 3, 4)  # codes 9, 1/4, 0 and 4: the edited ones are on
    change = (edit.apply(delta, 1.0) - delta).detach()
    for i, case in enumerate(BATCH):
        region = torch.from_numpy(region_mask(case.region, 2, 3))
        direction = torch.tensor([1.0, 0, 0, 1.0]) / np.sqrt(2)
        written = torch.tensor([9.0, 0, 0, 16.0])
        if control == RANDOM:
            direction = random_direction(4, direction_seed(study, TREE, case))
            written = np.sqrt(81.0 + 256.0) * direction
        assert torch.allclose(change[i][region], 2 * direction, atol=1e-5)
        assert torch.allclose(change[i][~region], -written, atol=1e-5)


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM])
def test_a_global_edit_raises_every_cell(study, control):
    unit, batch = PlannedEdit("global", "night", "final"), [Case(p, "a tree", 5, "everywhere") for p in (3, 4)]
    edit = editor(study, unit, control)._edit(batch)
    assert (edit.module, edit.t_low, edit.t_high) == ("mid_block.attentions.0", 0.0, 0.2)
    delta = torch.randn(2, 2, 3, 4)
    change = (edit.apply(delta, 0.1) - delta).detach()
    for i, case in enumerate(batch):
        direction = torch.tensor([1.0, 0, 0, 1.0]) / np.sqrt(2)
        if control == RANDOM:
            direction = random_direction(4, direction_seed(study, unit, case))
        assert torch.allclose(change[i], (2 * direction).expand(2, 3, 4), atol=1e-5)


class Rows:
    def __init__(self, rows):
        self.rows = rows

    def to_pylist(self):
        return self.rows


class Open:
    judge = object()
