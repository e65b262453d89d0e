"""Dask clusters: one of this run's own, on loopback, or one that runs already and may go away and come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect.task_runners import TaskRunner

from study.config import RunSettings
from study.errors import StudyError
from tasks.workers import METHOD, prepare_workers

WORKER_SECONDS = 60.0  # a worker may be starting as well
BUSY_SECONDS = "300s"  # a scheduler that reads our tasks imports torch, deaf meanwhile, for a minute where it is slow


class ClusterLost(StudyError):
    """The scheduler of a running cluster went away; what its workers had published is kept."""


@contextmanager
def dask_runner(settings: RunSettings, patience: float) -> Iterator[TaskRunner[Any]]:
    """Prefect's runner on ``run.dask_address``, or on a local cluster of a process for each unit at once.

    Raises ``StudyError`` if no scheduler answers within ``patience`` seconds, or it has no worker, or none with what
    ``run.dask_resources`` asks for; and ``ClusterLost`` if the scheduler goes away.
    """
    try:
        import dask
        from distributed.comm import CommClosedError
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise StudyError("run.task_runner is 'dask': install it with `pip install prefect-dask`") from error
    from concurrent.futures import CancelledError

    from distributed.scheduler import KilledWorker

    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL if settings.dask_address else logging.WARNING)
    given = {"address": settings.dask_address} if settings.dask_address else {"cluster_kwargs": local_cluster(settings)}
    runner = DaskTaskRunner(**given, client_kwargs={"timeout": patience})
    if not settings.dask_address:
        prepare_workers()
    how = {"distributed.comm.timeouts.tcp": BUSY_SECONDS, "distributed.worker.multiprocessing-method": METHOD}
    try:
        with dask.config.set(how), runner:
            _join(runner, settings)
            yield runner
    except KilledWorker as error:
        raise StudyError(
            f"a Dask worker died each time it was given {error.task}, which is most often want of memory: lower "
            "run.max_workers or sampling.batch_size, and run the same command again; what was finished is kept"
        ) from error
    except (CancelledError, CommClosedError) as error:
        raise ClusterLost(
            f"the Dask scheduler {settings.dask_address or 'of this run'} went away: start it and its workers, and run "
            "the same command again; what was finished is kept"
        ) from error


def local_cluster(settings: RunSettings) -> dict[str, Any]:
    """What a local cluster is made of: everything on loopback, every port free, so that two studies never meet."""
    return {
        "n_workers": settings.at_once,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "dashboard_address": "127.0.0.1:0",  # Dask's own default is port 8787 of every interface
    }


def _join(runner: Any, settings: RunSettings) -> None:
    """Connect, and see that somebody is there to work: tasks of a cluster without workers wait for ever."""
    try:
        client = runner.client
    except OSError as error:
        if not settings.dask_address:
            raise
        raise StudyError(
            f"run.dask_address is {settings.dask_address!r}, and no Dask scheduler answers there ({error}): start it, "
            "or leave the setting empty for a local cluster"
        ) from error
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        where = settings.dask_address or "of this run"
        raise StudyError(
            f"the Dask scheduler {where} has had no worker for {WORKER_SECONDS:.0f} s: start one with `dask worker`"
        ) from error
    _await_resources(client, settings)


def _await_resources(client: Any, settings: RunSettings) -> None:
    """Wait for a worker that has what units with a device ask for: without one they would wait for ever."""
    end = time.monotonic() + WORKER_SECONDS
    while not room(client, settings.dask_resources):
        if time.monotonic() > end:
            asked = " ".join(f"{name}={amount:g}" for name, amount in settings.dask_resources.items())
            raise StudyError(
                f"the Dask scheduler {settings.dask_address} has had no worker for {WORKER_SECONDS:.0f} s that declares"
                f" what run.dask_resources asks for: start one with `dask worker --resources '{asked}'`, or drop the "
                "setting"
            )
        time.sleep(0.5)


def room(client: Any, resources: Mapping[str, float]) -> int:
    """How many tasks that take these resources a cluster can work on at once: no more than its workers have threads."""
    return sum(
        min([worker["nthreads"], *(int(worker["resources"].get(name, 0) // take) for name, take in resources.items())])
        for worker in client.scheduler_info()["workers"].values()
    )
