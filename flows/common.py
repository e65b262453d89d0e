"""What every stage flow does: open the study, run what is missing, write its row of ``runs``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import Task, runtime
from prefect.client.orchestration import get_client
from prefect.states import Cancelled
from prefect.task_runners import TaskRunner

from flows.interrupts import farewell
from storage.lock import writing
from storage.names import refuse_root
from storage.publish import publish_run
from storage.records import forget_record
from study.config import load_config
from study.opening import open_or_create
from study.provenance import git_sha, versions
from study.publish import lacking
from study.stages import WITH_WEIGHTS
from study.study import Study
from tasks.cluster import ClusterLost
from tasks.progress import StageProgress
from tasks.runner import FIRST_SECONDS, Step, run_chains, run_units, with_retries

CLUSTER_RETURNS = 3  # times that one stage outlives its cluster's scheduler
RETURN_SECONDS = 300.0  # that a lost scheduler is waited for: a machine restarts in less


@contextmanager
def stage(name: str, config_path: str, root: str, overrides: list[str] | None) -> Iterator[Study]:
    """Open the study for one stage, as its only writer, and, when the stage ends well, add its row to ``runs``."""
    config = load_config(config_path, overrides or [])
    refuse_root(root)
    with writing(root, f"the flow {name}"):
        study = open_or_create(root, config)
        started = datetime.now(UTC)
        with cancelled_if_ended():
            yield study
        _add_run(study, name, started)


def _add_run(study: Study, name: str, started: datetime) -> None:
    run_id = str(runtime.flow_run.id or started.isoformat())
    row = {
        "run_id": run_id,
        "stage": name,
        "started": started,
        "ended": datetime.now(UTC),
        "config_hash": study.config_hash,
        "git_sha": git_sha(),
        "versions": json.dumps(versions(), sort_keys=True),
    }
    publish_run(study.root, f"{name}-{run_id}", row)


@contextmanager
def cancelled_if_ended() -> Iterator[None]:
    """Have the server know, if a signal ends the command meanwhile, that the present flow run has ended with it."""
    flow_run_id = runtime.flow_run.id
    with farewell(lambda: _cancel(flow_run_id)):
        yield


def _cancel(flow_run_id: str | None) -> None:
    if flow_run_id is None:
        return
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(UUID(flow_run_id), Cancelled(message="The command was interrupted."), force=True)


def run_missing(
    study: Study,
    record_stage: str,
    units: dict[str, Any],
    submit: Callable[[TaskRunner[Any], Any], Any],
) -> list[str]:
    """Run the units without a completion record, and return their names, the record's.

    ``units`` maps the name to what ``submit`` receives.
    """
    todo = lacking(study, record_stage, list(units))
    if record_stage in WITH_WEIGHTS:
        # Weights are replaced long before the unit is published: the record of former settings must not vouch for them.
        for name in todo:
            forget_record(study.root, record_stage, name)
    progress = StageProgress(record_stage, len(units) - len(todo), len(units))

    def run_the_rest(patience: float) -> None:
        rest = lacking(study, record_stage, todo)
        progress.set_done(len(units) - len(rest))
        run_units(study.config.run, progress, submit, [units[name] for name in rest], patience)

    if todo:
        though_the_cluster_goes(run_the_rest)
    return todo


def run_each(study: Study, record_stage: str, task: Task[..., Any], units: dict[str, dict[str, Any]]) -> list[str]:
    """Run one task for every unit without a completion record; ``units`` maps a record's name to its parameters."""
    retried = with_retries(task, study.config.run)
    return run_missing(
        study, record_stage, units, lambda runner, given: runner.submit(retried, {"study": study, **given})
    )


def run_steps(study: Study, steps: dict[str, Task[..., Any]], units: dict[str, dict[str, Any]]) -> None:
    """Run several stages over the same units, each unit's steps one after the other, leaving out those that are done.

    ``steps`` maps a stage to its task, in order.
    """
    undone = {stage: set(lacking(study, stage, list(units))) for stage in steps}
    progress = {stage: StageProgress(stage, len(units) - len(undone[stage]), len(units)) for stage in steps}

    def run_the_rest(patience: float) -> None:
        rest = {stage: set(lacking(study, stage, sorted(undone[stage]))) for stage in steps}
        for stage, counted in progress.items():
            counted.set_done(len(units) - len(rest[stage]))
        chains = [
            [
                Step(task, {"study": study, **given}, progress[stage])
                for stage, task in steps.items()
                if name in rest[stage]
            ]
            for name, given in units.items()
        ]
        run_chains(study.config.run, chains, patience)

    if any(undone.values()):
        though_the_cluster_goes(run_the_rest)


def though_the_cluster_goes(run_the_rest: Callable[[float], None]) -> None:
    """Run units, and run the rest of them again when a cluster's scheduler went away and came back.

    ``run_the_rest`` receives the seconds that the cluster is given to answer. Raises ``ClusterLost`` when it has been
    lost too often, and ``StudyError`` when it does not come back.
    """
    patience = FIRST_SECONDS
    for left in reversed(range(CLUSTER_RETURNS + 1)):
        try:
            return run_the_rest(patience)
        except ClusterLost:
            if not left:
                raise
            patience = RETURN_SECONDS


def flow_run_name() -> str:
    """Name of a flow run in the UI: the flow and the study folder."""
    root = str(runtime.flow_run.parameters.get("root", "")).rstrip("/").rsplit("/", 1)[-1]
    return f"{runtime.flow_run.flow_name}-{root}"
