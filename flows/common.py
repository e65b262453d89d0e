"""What every flow does: open the study, run what is missing, write its row of ``runs``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.states import Cancelled

from flows.interrupts import farewell
from flows.metrics import measured, refuse_taken_port
from flows.summary import summarised
from storage.lock import writing
from storage.names import refuse_root
from storage.publish import publish_run
from storage.shown import newest
from storage.study import has_study
from study.config import load_config
from study.contradictions import refuse_contradicting_run
from study.grown import run_facts, show_grown
from study.opening import for_command, may_write, open_or_create
from study.preconditions import require_before
from study.preflight import refuse_beginning
from study.provenance import git_sha, versions
from study.stage import SAME, Command, Stage
from study.stages import needs_device, stages_of
from study.study import Study
from study.undone import done_units, undone
from tasks.claimed import Sharing
from tasks.cluster import ClusterLost
from tasks.logs import write_as_asked
from tasks.progress import StageProgress
from tasks.runner import FIRST_SECONDS, Runner, Step
from tasks.units import Work, named, task_of, works_of

CLUSTER_RETURNS = 3  # times that one stage outlives its cluster's scheduler
RETURN_SECONDS = 300.0  # that a lost scheduler is waited for: a machine restarts in less


_opened: dict[tuple[str, str, tuple[str, ...]], Study] = {}


@contextmanager
def opened(config_path: str, root: str, overrides: list[str] | None, command: str = "run") -> Iterator[Study]:
    """Open the study as its only writer. Within a flow that has opened it, that one is given: it is read once a run.

    A mistake is told first, before anything is written and anything heavy is imported. A run of a deployment waits for
    another that writes into the folder, whichever deployment that is of, and says so in its log; the lock is the
    operating system's, so that a holder that is killed keeps nobody waiting. Raises ``StudyError``, ``StorageError``.
    """
    key = (config_path, root, tuple(overrides or ()))
    if key in _opened:
        yield _opened[key]
        return
    config = load_config(config_path, overrides or [])
    refuse_root(root)
    write_as_asked(config)
    refuse_contradicting_run(config)
    wait = math.inf if runtime.deployment.id else 0.0
    if not has_study(root):
        refuse_beginning(root, config, command)
    elif wait:
        may_write(root, config)  # else it would be told when the other run has ended
    if config.run.devices and needs_device(command):
        from study.devices import refuse_absent  # imports torch

        refuse_absent(config)
    if not wait:  # one that waits may wait for who has it
        refuse_taken_port(config.run.metrics_port)
    doing = f"the flow {runtime.flow_run.flow_name}"
    with writing(root, doing, wait, print, config.run.share):  # Prefect has what is printed in the run's log
        _opened[key] = study = for_command(open_or_create(root, config), command)
        try:
            with newest():
                yield study
            show_grown(study, [stage.name for stage in stages_of(command)])
        finally:
            del _opened[key]


def finished(study: Study, name: str) -> dict[str, int] | None:
    """What the flow of one command returns whose units are all done, as on most nights of a schedule; None if not.

    It says so, and no library that loads a model is imported. Within a run of the whole study, which has something to
    do, each command tells its own results instead.
    """
    if runtime.flow_run.parent_flow_run_id or not (done := done_units(study, name)):
        return None
    with cancelled_if_ended(), shown(study, name):
        return {"units": done[name], "made_now": 0}


@contextmanager
def stage(name: str, config_path: str, root: str, overrides: list[str] | None) -> Iterator[Study]:
    """Open the study for one command's stages and, when they end well, add the row to ``runs``."""
    with opened(config_path, root, overrides, name) as study:
        started = datetime.now(UTC)
        with cancelled_if_ended(), shown(study, name):
            yield study
        _add_run(study, name, started)


@contextmanager
def shown(study: Study, command: str) -> Iterator[None]:
    """Keep the page of the present flow run, of a command or of ``run``, in Prefect's UI; and serve its metrics."""
    counts, units = {}, 0
    for each in stages_of(command):
        works = works_of(study, each)
        names = _units(works)
        counts[each.name] = _counted(works, set(undone(study, each, names)))
        units += len(names)
    with measured(study, counts), summarised(study, command, counts, units):
        yield


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
    publish_run(study.root, f"{name}-{run_id}", row, run_facts(study))


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


def run_command(study: Study, command: Command, **inputs: Any) -> dict[str, Any]:
    """Run what is missing of a command's stages, in order. Returns counts and what the command's ending reports.

    ``inputs`` is given to every piece of work. Raises ``StudyError`` if a stage before the command's is incomplete.
    """
    require_before(study, command.name)
    stages = stages_of(command.name)
    with Runner(study.config.run) as runner:
        made = sum(run_stages(study, chained, runner, inputs) for chained in _chained(stages))
    total = sum(len(stage.units(study)) for stage in stages)
    return {"units": total, "made_now": made, **named(command.ending)(study)}


def _chained(stages: list[Stage]) -> list[list[Stage]]:
    """Stages in runs of those that follow each other unit by unit: no shard waits for another's last step."""
    chains: list[list[Stage]] = []
    for stage in stages:
        if chains and stage.after == {chains[-1][-1].name: SAME}:
            chains[-1].append(stage)
        else:
            chains.append([stage])
    return chains


def run_stages(study: Study, stages: list[Stage], runner: Runner, inputs: dict[str, Any] | None = None) -> int:
    """Run the units that are to be made, each unit's stages one after the other. Returns how many were made here."""
    works = {stage.name: works_of(study, stage, inputs) for stage in stages}
    todo = {stage.name: set(undone(study, stage, _units(works[stage.name]))) for stage in stages}
    progress = {
        stage.name: StageProgress(stage.name, *_counted(works[stage.name], todo[stage.name]), study.config.name)
        for stage in stages
    }

    if study.config.run.share and any(todo.values()):
        return _run_shared(study, stages, works, todo, progress, runner)

    def run_the_rest(patience: float) -> None:
        rest: dict[str, set[str]] = {}
        for stage in stages:
            rest[stage.name] = set(undone(study, stage, sorted(todo[stage.name])))
            progress[stage.name].set_done(_counted(works[stage.name], rest[stage.name])[0])
        chains = [
            [Step(task_of(w.stage), {"study": study, "work": w}, progress[w.stage.name], w.stage.on_cpu) for w in chain]
            for chain in _chains(works, rest)
        ]
        with _runner_of(study, stages, runner) as one:
            one.run(chains, patience)

    if any(todo.values()):
        though_the_cluster_goes(run_the_rest)
    return sum(map(len, todo.values()))


def _run_shared(
    study: Study,
    stages: list[Stage],
    works: dict[str, list[Work]],
    todo: dict[str, set[str]],
    progress: dict[str, StageProgress],
    runner: Runner,
) -> int:
    """Run what other processes leave. Returns how many units were made here."""
    sharing = Sharing(study, [work for of_stage in works.values() for work in of_stage], todo, progress)
    made = [0]

    def run_the_rest(patience: float) -> None:
        with _runner_of(study, stages, runner) as one:
            made[0] = sharing.run(one, patience)

    with farewell(sharing.give_up):
        though_the_cluster_goes(run_the_rest)
    return made[0]


@contextmanager
def _runner_of(study: Study, stages: list[Stage], runner: Runner) -> Iterator[Runner]:
    """The command's runner; threads of this process where no cluster is to be started for the stages' one unit."""
    if not all(stage.local for stage in stages):
        yield runner
        return
    with Runner(study.config.run.model_copy(update={"task_runner": "thread"})) as here:
        yield here


def _units(works: list[Work]) -> list[str]:
    return [unit for work in works for unit in work.units]


def _counted(works: list[Work], todo: set[str]) -> tuple[int, int]:
    """Pieces of work that are done, and all of them."""
    return sum(todo.isdisjoint(work.units) for work in works), len(works)


def _chains(works: dict[str, list[Work]], todo: dict[str, set[str]]) -> list[list[Work]]:
    """Of the works that are to be done, those of the same units together, in the order of their stages."""
    chains: dict[tuple[str, ...], list[Work]] = {}
    for stage, of_stage in works.items():
        for work in of_stage:
            if not todo[stage].isdisjoint(work.units):
                chains.setdefault(work.units, []).append(work)
    return list(chains.values())


def though_the_cluster_goes(run_the_rest: Callable[[float], None]) -> None:
    """Run units, and run the rest of them again when a cluster's scheduler went away and came back.

    ``run_the_rest`` receives the seconds that the cluster is given to answer. Raises ``ClusterLost`` when it has been
    lost too often, and ``StudyError`` when it does not come back.
    """
    patience = FIRST_SECONDS
    for left in reversed(range(CLUSTER_RETURNS + 1)):
        try:
            run_the_rest(patience)
        except ClusterLost:
            if not left:
                raise
            patience = RETURN_SECONDS
        else:
            return


def flow_run_name() -> str:
    """Name of a flow run in the UI: the flow and the study folder."""
    root = str(runtime.flow_run.parameters.get("root", "")).rstrip("/").rsplit("/", 1)[-1]
    return f"{runtime.flow_run.flow_name}-{root}"
