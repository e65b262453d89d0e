"""What a stage really reads of the configuration is what it declares: each is run under one that notes every look."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from storage.records import forget_record
from study import models
from study.hashes import APART
from study.opening import recorded_study
from study.stages import STAGES, stages_of
from study.study import Study
from tasks import controls, curves, off_distribution
from tasks.units import named, works_of

pytestmark = pytest.mark.system
ELSEWHERE = {  # settings that the tiny study has no use for: who reads them instead
    "vision.transformers": "the backend of that name",
    "vision.plugin": "a backend that a package brings",
    "vision.vocabulary": "taggers of open vocabulary",
    "vision.vocabulary_file": "taggers of open vocabulary",
    "sae.aux_k": "training, once latents are dead",
    "interventions.global_block": "intervene; with the tiny study's one global strength there is nothing to calibrate",
    "interventions.global_scaling": "intervene, likewise",
    "interventions.transfer_from": "intervene, likewise: it is of styles",
    "atlas": "`concepts atlas`, which is no part of a run",
    "interventions.style_cids": "both, where `transfer_from` is set",
}
ASKED = {  # settings under which a stage has work that the tiny study has not
    "locate": {"block": "traced", "objects": ("tree", "house")},
}
BESIDES = {  # what a stage looks at though nothing that it writes follows from it
    # The store is made for the sites that collect fills, which is never done again in place either; and a k that no SAE
    # can have is refused before anything is sampled.
    "plan": {"sites", "sae.k", "sae.expansion"},
    # The backend is loaded whole; its second opinion is asked by segment alone.
    "tag": {"vision.mini.second_path"},
    "detect": {"vision.mini.second_path"},
    "locate": {"vision.mini.second_path"},
}


def groups(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, BaseModel]]:
    yield prefix, model
    for name in type(model).model_fields:
        if isinstance(value := getattr(model, name), BaseModel):
            yield from groups(value, f"{prefix}{name}.")


@contextlib.contextmanager
def noting(config: BaseModel) -> Iterator[set[str]]:
    """The dotted names of the settings that are looked at meanwhile, groups not among them."""
    seen: set[str] = set()
    of = {id(model): (prefix, model) for prefix, model in groups(config)}
    kinds = {type(model) for _, model in of.values()}

    def looked(self: BaseModel, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if id(self) in of and name in type(self).model_fields and not isinstance(value, BaseModel):
            seen.add(of[id(self)][0] + name)
        return value

    for kind in kinds:
        kind.__getattribute__ = looked
    try:
        yield seen
    finally:
        for kind in kinds:
            del kind.__getattribute__


def covered(stage: str) -> set[str]:
    """What the stage's hash covers: its own settings and those of the stages that it follows from."""
    known = STAGES[stage]
    return set(known.reads).union(*(covered(before) for before in known.after))


def within(key: str, declared: set[str]) -> bool:
    return any(key == one or key.startswith(f"{one}.") for one in declared)


def with_settings(study: Study, groups: dict[str, dict[str, Any]]) -> Study:
    """The study as one of other settings; what is looked at does not depend on how many images or steps there are."""
    changed = {name: getattr(study.config, name).model_copy(update=given) for name, given in groups.items()}
    return dataclasses.replace(study, config=study.config.model_copy(update=changed))


@pytest.fixture(scope="module")
def seen(tiny_study, tmp_path_factory) -> dict[str, set[str]]:
    """Stage -> the settings that two units of it looked at, nothing being left in memory of the unit before."""
    root = shutil.copytree(tiny_study, tmp_path_factory.mktemp("noted") / "study")
    study = with_settings(recorded_study(root), {"sampling": {"steps": 2}, "interventions": {"calibration_images": 1}})
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "run_logger", lambda *_: logging.getLogger("cautions"))
        for stage in stages_of("run"):
            models.release_models()
            models._backends.clear()
            controls.classical_fit.forget()
            off_distribution.distribution_of.forget()
            study = with_settings(study, {"interventions": ASKED.get(stage.name, {})})
            with noting(study.config) as looked_at:
                works = works_of(study, stage)
                for work in {id(work): work for work in (works[0], works[-1])}.values():
                    for unit in work.units:
                        forget_record(root, stage.name, unit)
                    named(stage.work)(study, **work.given)
            found[stage.name] = set(looked_at)
    return found


@pytest.mark.parametrize("stage", [stage.name for stage in stages_of("run")])
def test_a_stage_looks_at_nothing_that_its_hash_does_not_cover(seen, stage):
    known = covered(stage) | BESIDES.get(stage, set()) | set(APART)
    undeclared = {key for key in seen[stage] if not within(key, known)}
    assert undeclared == set(), f"say so in study/stages.py, or {stage} stays done when they change"


@pytest.mark.parametrize("stage", [stage.name for stage in stages_of("run")])
def test_a_stage_declares_nothing_that_it_does_not_look_at(seen, stage):
    known = set(STAGES[stage].reads) - STAGES[stage].only_if.keys()  # whose condition is asked in tests/study
    idle = {key for key in known if not any(within(one, {key}) for one in seen[stage])}
    assert {key for key in idle if not within(key, set(ELSEWHERE))} == set()
