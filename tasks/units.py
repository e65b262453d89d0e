"""The Prefect tasks: one retryable unit of work each, thin over the plain functions of this room.

Caching is off: what is on disk is the truth, and a stale cache must never hide a deleted store. For the same reason a
unit whose record is there is not done again: a cluster repeats the tasks whose results a dead worker had held.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from study import plans
from study.paths import Site, series_name, site_path, unit_name
from study.publish import lacking, shard_name
from study.study import Study
from study.threads import limited
from tasks import bench, calibrate, collect, effects, intervene, label, layout, match, segment, train
from tasks.curves import LiveCurves
from tasks.patience import be_patient

be_patient()  # here, because every process that runs a task imports this module
Unit = Callable[..., dict[str, Any]]


def once(stage: str, names: Callable[..., str | list[str]]) -> Callable[[Unit], Unit]:
    """Return at once where the unit has its completion record. ``names`` makes their names of the task's parameters."""

    def decorate(unit: Unit) -> Unit:
        signature = inspect.signature(unit)

        @functools.wraps(unit)
        def checked(*args: Any, **kwargs: Any) -> dict[str, Any]:
            given = signature.bind(*args, **kwargs).arguments
            found = names(**given)
            wanted = [found] if isinstance(found, str) else found
            return unit(**given) if lacking(given["study"], stage, wanted) else {"already_done": wanted}

        return checked

    return decorate


def _shard(study: Study, shard: int) -> str:
    return shard_name(shard)


def _site_and_k(study: Study, site: Site, k: int) -> str:
    return unit_name(site, k)


def _named(study: Study, unit: Any) -> str:
    return str(unit.name)


@task(name="plan-prompts", tags=["collect"], cache_policy=NO_CACHE)
@limited
def plan_prompts_task(study: Study) -> int:
    """Write the prompts table and create the activation store."""
    return collect.plan(study)


@task(name="collect-shard", task_run_name="collect-{shard:06d}", tags=["collect"], cache_policy=NO_CACHE)
@once("collect", _shard)
@limited
def collect_shard_task(study: Study, shard: int) -> dict[str, Any]:
    """Sample one shard and record its activations."""
    return collect.collect_shard(study, shard)


@task(name="train-site", task_run_name="train-{site}", tags=["train"], cache_policy=NO_CACHE)
@once("train", lambda study, site: [unit_name(site, k) for k in study.config.sae.k])
@limited
def train_site_task(study: Study, site: Site) -> dict[str, Any]:
    """Train and evaluate every SAE of a site."""
    found = train.train_site(study, site, LiveCurves(study, site_path(site)))
    for caution in found["cautions"]:
        get_run_logger().warning(caution)
    return found


@task(name="train-shared", task_run_name="train-{block}-{conditioning}-shared", tags=["train"], cache_policy=NO_CACHE)
@once("share", lambda study, block, conditioning: series_name(block, conditioning))
@limited
def train_shared_task(study: Study, block: str, conditioning: str) -> dict[str, Any]:
    """Train and evaluate the SAEs of all times of a block together."""
    return train.train_shared(study, block, conditioning, LiveCurves(study, f"{block}/shared/{conditioning}"))


@task(name="match-times", task_run_name="match-{block}-{conditioning}-k{k}", tags=["train"], cache_policy=NO_CACHE)
@once("match", lambda study, block, conditioning, k: plans.match_unit(block, conditioning, k))
@limited
def match_task(study: Study, block: str, conditioning: str, k: int) -> dict[str, Any]:
    """Match the concepts of neighbouring times."""
    return match.match_times(study, block, conditioning, k)


@task(name="tag", task_run_name="tag-{shard:06d}", tags=["label"], cache_policy=NO_CACHE)
@once("tag", _shard)
@limited
def tag_task(study: Study, shard: int) -> dict[str, Any]:
    """Tag one shard's images."""
    return segment.tag_shard(study, shard)


@task(name="detect", task_run_name="detect-{shard:06d}", tags=["label"], cache_policy=NO_CACHE)
@once("detect", _shard)
@limited
def detect_task(study: Study, shard: int) -> dict[str, Any]:
    """Find boxes of the tags in one shard's images."""
    return segment.detect_shard(study, shard)


@task(name="segment", task_run_name="segment-{shard:06d}", tags=["label"], cache_policy=NO_CACHE)
@once("segment", _shard)
@limited
def segment_task(study: Study, shard: int) -> dict[str, Any]:
    """Turn the boxes in one shard's images into masks."""
    return segment.segment_shard(study, shard)


@task(name="areas", task_run_name="areas-{shard:06d}", tags=["label"], cache_policy=NO_CACHE)
@once("areas", _shard)
@limited
def areas_task(study: Study, shard: int) -> dict[str, Any]:
    """Count the pixels of one shard's masks in the cells of every grid."""
    return segment.areas_of_shard(study, shard)


@task(name="label-concepts", task_run_name="label-{site}-k{k}", tags=["label"], cache_policy=NO_CACHE)
@once("label", _site_and_k)
@limited
def label_task(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Label one SAE's concepts, and its untrained control's."""
    return label.label_concepts(study, site, k)


@task(name="score-layout", task_run_name="layout-{site}-k{k}", tags=["layout"], cache_policy=NO_CACHE)
@once("layout", _site_and_k)
@limited
def layout_task(study: Study, site: Site, k: int) -> dict[str, Any]:
    """Predict layouts at one site and score them beside the baselines."""
    return layout.score_layout(study, site, k)


@task(name="calibrate", task_run_name="calibrate-{unit.name}", tags=["intervene"], cache_policy=NO_CACHE)
@once("calibrate", _named)
@limited
def calibrate_task(study: Study, unit: plans.Calibration) -> dict[str, Any]:
    """Choose the strength of one kind of edit in one window."""
    return calibrate.run_calibration(study, unit)


@task(name="effects", tags=["intervene"], cache_policy=NO_CACHE)
@once("effects", lambda study: plans.EFFECTS_UNIT)
@limited
def effects_task(study: Study) -> dict[str, Any]:
    """Summarise what the edits did."""
    return effects.summarise_effects(study)


@task(name="intervene", task_run_name="intervene-{unit.name}", tags=["intervene"], cache_policy=NO_CACHE)
@once("intervene", _named)
@limited
def intervene_task(study: Study, unit: plans.Unit) -> dict[str, Any]:
    """Run one target's edits in one window, with their controls."""
    return intervene.run_unit(study, unit)


@task(name="bench-time", task_run_name="bench-{t:.2f}-{conditioning}", tags=["bench"], cache_policy=NO_CACHE)
@once("bench", lambda study, t, conditioning, inputs: plans.bench_unit(t, conditioning))
@limited
def bench_task(study: Study, t: float, conditioning: str, inputs: bench.BenchInputs) -> dict[str, Any]:
    """Score every dictionary of one time against the truth."""
    return bench.bench_time(study, t, conditioning, inputs)
