"""Stage 2, train: one TopK SAE per block, timestep, conditioning and k."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from tasks.artifacts import train_artifacts
from tasks.preconditions import require
from tasks.study import sae_units, unit_name
from tasks.units import train_sae_task


@flow(name="train", flow_run_name=flow_run_name, log_prints=True)
def train_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Train every SAE that is missing; fill ``saes/`` and ``sae_metrics``."""
    with stage("train", config_path, root, overrides) as study:
        require(study, "collect")
        units = {unit_name(site, k): {"site": site, "k": k} for site, k in sae_units(study)}
        done = run_each(study, "train", train_sae_task, units)
        train_artifacts(study)
    return {"saes": len(units), "trained_now": len(done)}
