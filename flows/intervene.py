"""Stage 5, intervene: calibrate the strengths, then spatial and global edits in each window, beside controls."""

from __future__ import annotations

from typing import Any

from prefect import Task, flow

from flows.common import flow_run_name, run_missing, stage
from tasks import effects
from tasks.artifacts import intervene_artifacts
from tasks.calibrate import plan_calibrations
from tasks.edits import plan_units
from tasks.preconditions import require
from tasks.runner import with_retries
from tasks.study import Study
from tasks.units import calibrate_task, effects_task, intervene_task


@flow(name="intervene", flow_run_name=flow_run_name, log_prints=True)
def intervene_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill ``calibrations``, ``interventions`` and ``intervention_effects``."""
    with stage("intervene", config_path, root, overrides) as study:
        require(study, "collect", "train", "label")
        calibrations = {unit.name: unit for unit in plan_calibrations(study)}
        units = {unit.name: unit for unit in plan_units(study)}
        _run(study, "calibrate", calibrate_task, calibrations)
        done = _run(study, "intervene", intervene_task, units)
        _run(study, "effects", effects_task, {effects.UNIT: effects.UNIT})
        intervene_artifacts(study)
    return {"units": len(units), "run_now": len(done)}


def _run(study: Study, record_stage: str, task: Task[..., Any], units: dict[str, Any]) -> list[Any]:
    retried = with_retries(task, study.config.run)
    return run_missing(
        study, record_stage, units, lambda runner, unit: runner.submit(retried, {"study": study, "unit": unit})
    )
