"""Laptop mode: one process that serves every deployment, and the whole study on a schedule."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from prefect import Flow, serve
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import EntrypointType
from prefect.schedules import Schedule
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled

from flows import automations
from flows.bench import bench_flow
from flows.deployments import deployed
from flows.edit import edit_flow
from flows.environment import CHECKOUT
from flows.interrupts import end_if_told, farewell
from flows.stages import FLOWS, OPTIONAL_FLOWS
from flows.whole import study_flow


def serve_all(url: str, own: bool, config_path: str, root: str, schedule: Schedule) -> None:
    """Serve until interrupted, against the server at ``url``, which is this command's ``own`` or PREFECT_API_URL's."""
    served, absolute_root = deployments(config_path, root, schedule), str(Path(root).absolute())
    # Prefect imports a run's flow with the current folder first: let that be ours, not one with another tasks.py.
    os.chdir(CHECKOUT)
    os.environ["PREFECT_API_URL"] = url  # also where the folder's .env names it
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", str(automations.HEARTBEAT_SECONDS))
    automations.install()
    _say(url, own, config_path, root, schedule)
    # The client is made and connected beforehand: there is little time for the last words.
    with get_client(sync_client=True) as client, farewell(lambda: _cancel_what_runs(client, absolute_root)):
        client.api_version()
        try:
            serve(*served, limit=1, print_starting_message=False)  # one study folder, one writer
        finally:
            end_if_told()  # Prefect swallows the interruption, or exits with code 0


def deployments(config_path: str, root: str, schedule: Schedule) -> list[Any]:
    """The whole study with a schedule; every stage, the bench and single edits without.

    Paths hold wherever the runs are started.
    """
    given = {"config_path": str(Path(config_path).absolute()), "root": str(Path(root).absolute())}
    own: dict[str, dict[str, Any]] = {
        "study": {"schedule": schedule},
        "bench": {"parameters": given | {"truth": str(Path("runs/truth.parquet").absolute())}},
        "edit": {"parameters": {"root": given["root"]}},
    }
    common: dict[str, Any] = {
        "parameters": given,
        "tags": [automations.TAG],
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    return [
        _flow(one.name).to_deployment(one.name, description=one.description, **(common | own.get(one.name, {})))
        for one in deployed()
    ]


def _flow(name: str) -> Flow[..., Any]:
    return (FLOWS | OPTIONAL_FLOWS | {"study": study_flow, "bench": bench_flow, "edit": edit_flow})[name]


def _cancel_what_runs(client: SyncPrefectClient, root: str) -> None:
    """End the runs of our processes, and tell the server, where they would stay Running.

    They are known by their folder: its one writer is ours. A server too busy to be told, as while SQLite is locked, is
    told again and again, for as long as last words may take: Prefect's own client would wait for seconds in between.
    """
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if "PREFECT__FLOW_RUN_ID" in process.environ():
                process.kill()  # first: a process whose run is cancelled under its hands fails loudly
    while True:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                return _tell_cancelled(client, root)
        except httpx.HTTPError:
            time.sleep(0.2)


def _tell_cancelled(client: SyncPrefectClient, root: str) -> None:
    unended = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING, StateType.PENDING]))
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(state=unended)):
        if run.deployment_id is not None and run.parameters.get("root") == root:
            state: Any = Cancelled(message="`concepts serve` ended.")
            client.set_flow_run_state(run.id, state, force=True)


def _say(url: str, own: bool, config_path: str, root: str, schedule: Schedule) -> None:
    page = url.removesuffix("/api")
    whose = "a server of this command's own, which ends with it" if own else "the server of PREFECT_API_URL"
    print(f"Prefect's UI: {page} ({whose})", file=sys.stderr)
    others = [one.name for one in deployed() if not one.cron]
    names = f"study (scheduled {schedule.cron!r}, {schedule.timezone}), {', '.join(others)}"
    print(f"deployments of {config_path} into {root}: {names}", file=sys.stderr)
    sys.stderr.flush()
