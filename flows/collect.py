"""Stage 1, collect: plan the prompts, then sample and record every shard that is missing."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from study.models import release_models
from study.paths import shards_of
from study.publish import shard_name
from tasks.artifacts import collect_artifacts
from tasks.collect import dropped_captions
from tasks.units import collect_shard_task, plan_prompts_task


@flow(name="collect", flow_run_name=flow_run_name, log_prints=True)
def collect_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, Any]:
    """Fill the activation store and the ``prompts`` and ``images`` tables. Returns counts."""
    with stage("collect", config_path, root, overrides) as study:
        prompts = plan_prompts_task(study)
        units = {shard_name(shard): {"shard": shard} for shard in shards_of(study)}
        done = run_each(study, "collect", collect_shard_task, units)
        release_models()
        collect_artifacts(study)
        prompts_said = f"{prompts}{dropped_captions(study)}"
    return {"prompts": prompts_said, "shards": len(units), "collected_now": len(done)}
