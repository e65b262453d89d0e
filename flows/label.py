"""Stage 3, label: segment the images (tag -> detect -> segment), then label every SAE's concepts."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.task_runners import TaskRunner

from flows.common import flow_run_name, run_each, run_missing, stage
from tasks.artifacts import label_artifacts
from tasks.parts import shard_name
from tasks.preconditions import require
from tasks.runner import with_retries
from tasks.segment import SEGMENTED_SPLITS
from tasks.study import Study, sae_units, shards_of, unit_name
from tasks.units import detect_task, label_task, segment_task, tag_task


@flow(name="label", flow_run_name=flow_run_name, log_prints=True)
def label_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill ``segments``, ``concepts``, ``concept_labels`` and ``concept_examples``."""
    with stage("label", config_path, root, overrides) as study:
        require(study, "collect", "train", "share")
        shards = {shard_name(shard): shard for shard in shards_of(study, *SEGMENTED_SPLITS)}
        run_missing(study, "segment", shards, lambda runner, shard: _segment_graph(runner, study, shard))
        units = {unit_name(site, k): {"site": site, "k": k} for site, k in sae_units(study)}
        done = run_each(study, "label", label_task, units)
        label_artifacts(study)
    return {"shards": len(shards), "dictionaries": len(units), "labelled_now": len(done)}


def _segment_graph(runner: TaskRunner[Any], study: Study, shard: int) -> Any:
    """Three tasks in a row; the futures between them carry tags and boxes, never pixels."""
    run = study.config.run
    given = {"study": study, "shard": shard}
    tags = runner.submit(with_retries(tag_task, run), given)
    boxes = runner.submit(with_retries(detect_task, run), {**given, "tags": tags})
    return runner.submit(with_retries(segment_task, run), {**given, "boxes": boxes})
