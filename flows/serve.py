"""Laptop mode: one process that serves every deployment, the whole study on a schedule."""

from __future__ import annotations

from prefect import serve

from flows.bench import bench_flow
from flows.study import STAGES, study_flow


def serve_all(config_path: str, root: str, cron: str) -> None:
    """Serve until interrupted, against the server that PREFECT_API_URL names."""
    parameters = {"config_path": config_path, "root": root}
    deployments = [study_flow.to_deployment("study", parameters=parameters, cron=cron, tags=["concept-atlas"])]
    deployments += [
        flow.to_deployment(name, parameters=parameters, tags=["concept-atlas"]) for name, flow in STAGES.items()
    ]
    deployments.append(bench_flow.to_deployment("bench", parameters=parameters, tags=["concept-atlas"]))
    serve(*deployments, limit=1)  # type: ignore[arg-type]  # one study folder, one writer
