"""Stage 5, intervene: spatial and global edits in each window, beside their controls."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_missing, stage
from tasks.artifacts import intervene_artifacts
from tasks.intervene import plan_units
from tasks.preconditions import require
from tasks.runner import with_retries
from tasks.units import intervene_task


@flow(name="intervene", flow_run_name=flow_run_name, log_prints=True)
def intervene_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill ``interventions``."""
    with stage("intervene", config_path, root, overrides) as study:
        require(study, "collect", "train", "label")
        task = with_retries(intervene_task, study.config.run)
        units = {unit.name: unit for unit in plan_units(study)}
        done = run_missing(
            study, "intervene", units, lambda runner, unit: runner.submit(task, {"study": study, "unit": unit})
        )
        intervene_artifacts(study)
    return {"units": len(units), "run_now": len(done)}
