"""Stage 5, intervene: calibrate the strengths, then spatial and global edits in each window, beside controls."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from study.plans import EFFECTS_UNIT, plan_calibrations, plan_units
from study.preconditions import require
from tasks.artifacts import intervene_artifacts
from tasks.units import calibrate_task, effects_task, intervene_task


@flow(name="intervene", flow_run_name=flow_run_name, log_prints=True)
def intervene_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill ``calibrations``, ``interventions`` and ``intervention_effects``."""
    with stage("intervene", config_path, root, overrides) as study:
        require(study, "collect", "train", "label")
        calibrations = {unit.name: {"unit": unit} for unit in plan_calibrations(study)}
        units = {unit.name: {"unit": unit} for unit in plan_units(study)}
        run_each(study, "calibrate", calibrate_task, calibrations)
        done = run_each(study, "intervene", intervene_task, units)
        run_each(study, "effects", effects_task, {EFFECTS_UNIT: {}})
        intervene_artifacts(study)
    return {"units": len(units), "run_now": len(done)}
