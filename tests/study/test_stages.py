"""Every setting belongs to a stage, the stages form a chain, and a change undoes what follows from it and no more."""

import copy
import dataclasses
import json
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from storage.errors import StorageError
from storage.formats import KEY
from storage.schemas import SCHEMAS, WRITERS
from storage.study import SEAL
from study import hashes
from study.config import StudyConfig, load_config
from study.errors import StudyError
from study.hashes import (
    APART,
    FIXED,
    LATER,
    changed_stages,
    reads,
    refuse_other_versions,
    revisable,
    stage_hash,
    stage_hashes,
    stage_versions,
)
from study.opening import open_or_create
from study.revise import plan_revision
from study.stages import OPTIONAL, STAGES, stages_of
from tests.paths import ROOT

TINY = load_config(ROOT / "configs" / "tiny.yaml")


def leaves(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Dotted names of all settings that are not groups."""
    found = []
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        found += leaves(groups[0], f"{prefix}{name}.") if groups else [f"{prefix}{name}"]
    return found


LEAVES = [key for key in leaves(StudyConfig) if key.split(".")[0] not in APART and key not in LATER]


def changed(key: str, value: Any, config: Any = TINY) -> dict[str, Any]:
    plain = copy.deepcopy(config if isinstance(config, dict) else config.model_dump(mode="json"))
    *parents, leaf = key.split(".")
    node = plain
    for parent in parents:
        node[parent] = node.get(parent) or {}
        node = node[parent]
    node[leaf] = value
    return plain


def followers(stages: set[str]) -> set[str]:
    """By the definition: a stage follows if it, or one it reads from and a configuration asks for, is among them."""
    plain = TINY.model_dump(mode="json")
    asked = {name for name, stage in STAGES.items() if stage.asked(plain)}
    while True:
        more = {name for name, stage in STAGES.items() if stages & set(stage.after) & asked} | stages
        if more == stages:
            return stages
        stages = more


@pytest.mark.parametrize("key", LATER)
def test_how_later_captions_are_followed_undoes_nothing(key):
    assert key in leaves(StudyConfig) and changed_stages(TINY, changed(key, "something else")) == []


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_is_read_by_a_stage_and_undoes_it(key):
    readers = {stage for stage in STAGES if reads(stage, key)}
    assert readers, f"{key}: say in study/stages.py which stages read it"
    plain = TINY.model_dump(mode="json")
    readers = {name for name in readers if STAGES[name].only_if.get(key, lambda _: True)(plain)}
    assert set(changed_stages(TINY, changed(key, "something else"))) == followers(readers)


def test_every_declared_setting_exists():
    known = [*leaves(StudyConfig), *(key.rsplit(".", 1)[0] for key in LEAVES)]
    for name, stage in STAGES.items():
        for key in stage.reads:
            assert key in known or any(leaf.startswith(f"{key}.") for leaf in known), f"{name} reads {key}"


def test_stages_come_after_what_they_read_and_write_every_table():
    seen: set[str] = set()
    for name, stage in STAGES.items():
        assert set(stage.after) <= seen, name
        seen.add(name)
    assert {table for stage in STAGES.values() for table in stage.tables} == set(SCHEMAS) - {"runs"}
    assert [stage.name for name in ("run", *OPTIONAL, "bench") for stage in stages_of(name)] == list(STAGES)


def test_execution_and_name_undo_nothing():
    assert changed_stages(TINY, changed("run.max_workers", 7)) == []
    assert changed_stages(TINY, changed("run.devices", ["cuda:0", "cuda:1"])) == []
    assert changed_stages(TINY, changed("name", "other")) == []


@pytest.mark.parametrize(
    ("key", "undone", "kept"),
    [
        (
            "vision.transformers.mask_score",
            ["segment", "areas", "label", "layout"],
            ["collect", "train", "tag", "detect"],
        ),
        ("vision.mini.min_score", ["segment", "areas", "label"], ["tag", "detect"]),
        ("vision.vocabulary", ["tag", "detect", "segment", "areas", "label"], ["train", "match", "bench"]),
        ("vision.transformers.judge_clip", ["calibrate", "intervene", "effects"], ["tag", "label", "layout"]),
        ("labels.assign_iou", ["label", "layout", "calibrate", "intervene", "effects"], ["areas", "segment", "train"]),
        ("layout.bootstrap", ["layout"], ["label", "calibrate"]),
        ("interventions.bootstrap", ["effects"], ["intervene"]),
        ("sae.lr", ["train", "share", "match", "label", "bench"], ["tag", "areas"]),
        ("sae.across_time", ["share", "match", "label"], ["train"]),
        ("sae.match_prompts", ["match"], ["train", "label"]),
    ],
)
def test_what_a_change_undoes(key, undone, kept):
    found = changed_stages(TINY, changed(key, "something else"))
    assert set(undone) <= set(found) and not set(kept) & set(found)
    assert revisable(TINY, changed(key, "something else"))


@pytest.mark.parametrize("key", ["seed", "prompts.source", "sites.times", "sampling.steps", "model.path"])
def test_what_would_mix_activations_is_not_revisable(key):
    assert not revisable(TINY, changed(key, "something else"))


def test_the_order_of_the_splits_counts():
    splits = dict(reversed(TINY.prompts.splits.items()))
    assert set(changed_stages(TINY, changed("prompts.splits", splits))) >= set(FIXED)


def test_a_configuration_and_its_plain_form_have_one_hash():
    assert stage_hashes(TINY) == stage_hashes(TINY.model_dump(mode="json"))
    assert len(set(stage_hashes(TINY).values())) == len(STAGES)


@given(st.sampled_from(LEAVES), st.sampled_from(LEAVES), st.sampled_from(list(STAGES)))
def test_undoing_two_changes_restores_the_hash(first, second, stage):
    twice = changed(second, "b", changed(first, "a"))
    if first != second:
        back = changed(first, _value(first), changed(second, _value(second), twice))
        assert stage_hash(back, stage) == stage_hash(TINY, stage)


def _value(key: str) -> Any:
    node: Any = TINY.model_dump(mode="json")
    for part in key.split("."):
        node = (node or {}).get(part)
    return node


def test_an_added_setting_is_left_out_at_its_legacy_value(monkeypatch):
    before, whole = stage_hashes(TINY), changed("labels.new", 0)
    monkeypatch.setitem(hashes.ADDED, "labels.new", 0)  # read by its group
    monkeypatch.setitem(hashes.ADDED, "sae.new", False)  # read by its own name
    stage = dataclasses.replace(STAGES["train"], reads=(*STAGES["train"].reads, "sae.new"))
    monkeypatch.setitem(STAGES, "train", stage)
    assert stage_hashes(TINY) == stage_hashes(whole) == stage_hashes(changed("sae.new", False)) == before
    assert changed_stages(TINY, changed("labels.new", 1))[0] == "label"
    assert changed_stages(TINY, changed("sae.new", True))[0] == "train"


def study_from_before(root, key):
    """A study made when the setting was not there yet, which the code then did as its legacy value says."""
    *groups, leaf = key.split(".")
    former = load_config(ROOT / "configs" / "tiny.yaml", [f"{key}={json.dumps(hashes.ADDED[key])}"])
    made = open_or_create(root, former)
    content = yaml.safe_load((root / "study.yaml").read_text())
    del content[SEAL], content[KEY]  # older studies have neither
    node = content["config"]
    for group in groups:
        node = node[group]
    del node[leaf]
    (root / "study.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return made


def tiny_without(key):
    """configs/tiny.yaml as from before the setting, which it does not name."""
    plain = node = TINY.model_dump(mode="json", exclude_unset=True)
    *groups, leaf = key.split(".")
    for group in groups:
        node = node.get(group, {})
    node.pop(leaf, None)
    return StudyConfig.model_validate(plain)


# Values of settings whose default is the legacy value.
OTHER = {
    "interventions.spatial_block": "up",
    "interventions.global_block": "up",
    "layout.large_share": 0.3,
    "interventions.halves": "both",
    "interventions.strength_by": "target",
    "interventions.calibration": "halving",
    "interventions.controls": ["random_direction", "neurons"],
    "labels.examples_by": "mean",
    "labels.centred": False,
    "interventions.global_prompts": 3,
    "interventions.spatial_scaling": "code_norm",
    "interventions.global_scaling": "code_share",
    "interventions.carriers": "all",
    "interventions.transfer_from": 0.0,
    "interventions.style_cids": {"night": [3]},
    "interventions.judge_floor": 0.0,
    "interventions.similarity": True,
    "interventions.lpips": "alex",
    "atlas.looks_per_prompt": 1,
    "interventions.damage": True,
    "atlas": {"prompts": 3},
    "prompts.split_by": "caption",
    "sae.refresh": "retrain",
    "sae.refresh_from": 0.5,
    "sae.controls": ["soft_frozen"],
    "sae.vectors": 5000,
    "sae.axes": "principal",
    "sae.encoder_start": 0.5,
    "sae.adam_betas": [0.8, 0.99],
}
ALONE = {  # what a setting that is set asks of others
    "prompts.split_by": ["prompts.splits={train: 0.4, dictionary: 0.3, layout: 0.15, style: 0.15}"],
    "sae.vectors": ["sae.epochs=1"],
    "interventions.halves": ["sites.conditionings=[cond,uncond]"],
    "interventions.style_cids": ["interventions.transfer_from=0.0"],
}


@pytest.mark.parametrize("key", hashes.ADDED)
def test_an_older_study_goes_on_under_the_values_it_was_made_with(tmp_path, key):
    made = study_from_before(tmp_path, key)
    opened = open_or_create(tmp_path, tiny_without(key))
    assert opened == made  # hash and settings
    assert not plan_revision(tmp_path, tiny_without(key)).needed
    other = OTHER.get(key, _value(key))
    named = load_config(ROOT / "configs" / "tiny.yaml", [f"{key}={json.dumps(other)}", *ALONE.get(key, ())])
    assert other != hashes.ADDED[key]
    with pytest.raises(StorageError, match=key):
        open_or_create(tmp_path, named)


def test_what_a_study_keeps_and_what_a_configuration_names_may_contradict(tmp_path):
    made = load_config(ROOT / "configs" / "tiny.yaml", ["sae.vectors=5000", "sae.epochs=1"])
    open_or_create(tmp_path, made)
    names = r"keeps what the configuration does not name, sae.vectors \(5000\), .*leave one out\): name these settings"
    with pytest.raises(StudyError, match=names):
        plan_revision(tmp_path, TINY)  # which names sae.epochs
    told = load_config(ROOT / "configs" / "tiny.yaml", ["sae.vectors=null"])
    assert plan_revision(tmp_path, told).needed


def test_a_stages_version_undoes_it_and_what_follows(monkeypatch):
    before, old = stage_hashes(TINY), stage_versions()
    first = stage_hashes(TINY, {})
    assert stage_hashes(TINY, dict.fromkeys(STAGES, 1)) == first  # 1 is in no hash
    monkeypatch.setitem(STAGES, "label", dataclasses.replace(STAGES["label"], version=STAGES["label"].version + 1))
    assert set(changed_stages(TINY, TINY, old)) == followers({"label"})
    assert stage_hashes(TINY, old) == before and stage_hashes(TINY, {}) == first
    with pytest.raises(StudyError, match="`concepts revise` to redo label as this version does"):
        refuse_other_versions("root", old)
    refuse_other_versions("root", stage_versions())


def test_newer_stages_and_fixed_ones_have_other_ways_out(monkeypatch):
    with pytest.raises(StudyError, match=r"train were made by a newer version .* upgrade"):
        refuse_other_versions("root", {"train": 7})
    monkeypatch.setitem(STAGES, "collect", dataclasses.replace(STAGES["collect"], version=2))
    with pytest.raises(StudyError, match=r"collect .*choose another --root") as error:
        refuse_other_versions("root", {})
    assert "revise" not in str(error.value)


def test_every_table_is_looked_for_in_the_records_of_the_stages_that_write_it():
    written = {table: {stage for stage, facts in STAGES.items() if table in facts.tables} for table in SCHEMAS}
    assert {table: set(stages) for table, stages in WRITERS.items()} == written | {"runs": {"runs"}}


def test_a_setting_that_is_read_under_another_one_alone_undoes_nothing_otherwise():
    """Whose images choose a strength matters to the trials where they give up on some; to edits it does always."""
    for calibration, undone in (("full", {"intervene"}), ("halving", {"calibrate", "intervene"})):
        of_kind, of_target = (
            load_config(
                ROOT / "configs" / "tiny.yaml",
                [f"interventions.calibration={calibration}", f"interventions.strength_by={by}"],
            )
            for by in ("kind", "target")
        )
        changed = set(hashes.changed_stages(of_kind, of_target))
        assert changed & {"calibrate", "intervene"} == undone
