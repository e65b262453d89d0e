"""Stage 2, train: the SAEs of every site, those of all times together, and the matches between times."""

from __future__ import annotations

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from study.paths import series_name, time_series
from study.plans import match_unit
from study.preconditions import require, sites_to_train
from tasks.artifacts import train_artifacts
from tasks.train import sweep_checkpoints
from tasks.units import match_task, train_shared_task, train_site_task


@flow(name="train", flow_run_name=flow_run_name, log_prints=True)
def train_flow(config_path: str, root: str, overrides: list[str] | None = None) -> dict[str, int]:
    """Train every SAE that is missing; fill ``saes/``, ``sae_metrics`` and ``concept_matches``."""
    with stage("train", config_path, root, overrides) as study:
        require(study, "collect")
        series = {series_name(b, c): {"block": b, "conditioning": c} for b, c in time_series(study)}
        trained = run_each(study, "train", train_site_task, sites_to_train(study))
        if study.config.sae.across_time:
            run_each(study, "share", train_shared_task, series)
        sweep_checkpoints(study)
        pairs = {
            match_unit(b, c, k): {"block": b, "conditioning": c, "k": k}
            for b, c in time_series(study)
            for k in study.config.sae.k
        }
        run_each(study, "match", match_task, pairs)
        train_artifacts(study)
    return {"sites": len(study.config.sites_list()), "trained_now": len(trained), "matched": len(pairs)}
