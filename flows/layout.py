"""Stage 4, layout: predict where things will be, at every site, beside the baselines."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from study.paths import sae_units, unit_name
from study.preconditions import require
from tasks.artifacts import layout_artifacts
from tasks.units import layout_task


@flow(name="layout", flow_run_name=flow_run_name, log_prints=True)
def layout_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Fill ``layout_scores``."""
    with stage("layout", config_path, root, overrides) as study:
        require(study, "collect", "train", "segment", "label")
        units = {unit_name(site, k): {"site": site, "k": k} for site, k in sae_units(study)}
        done = run_each(study, "layout", layout_task, units)
        layout_artifacts(study)
    return {"sites": len(units), "scored_now": len(done)}
