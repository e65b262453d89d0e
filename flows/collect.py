"""Stage 1, collect: plan the prompts, then sample and record every shard that is missing."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_missing, stage
from tasks.artifacts import collect_artifacts
from tasks.parts import shard_name
from tasks.runner import with_retries
from tasks.study import shards_of
from tasks.units import collect_shard_task, plan_prompts_task


@flow(name="collect", flow_run_name=flow_run_name, log_prints=True)
def collect_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill the activation store and the ``prompts`` and ``images`` tables. Returns counts."""
    with stage("collect", config_path, root, overrides) as study:
        prompts = plan_prompts_task(study)
        task = with_retries(collect_shard_task, study.config.run)
        units = {shard_name(shard): shard for shard in shards_of(study)}
        done = run_missing(
            study, "collect", units, lambda runner, shard: runner.submit(task, {"study": study, "shard": shard})
        )
        collect_artifacts(study)
    return {"prompts": prompts, "shards": len(units), "collected_now": len(done)}
