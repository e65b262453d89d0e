"""Running a stage's units as Prefect tasks on the task runner that the configuration names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from prefect import Task
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from tasks.config import RunSettings
from tasks.errors import StudyError
from tasks.progress import StageProgress


def make_runner(settings: RunSettings) -> TaskRunner[Any]:
    """The task runner of ``run.task_runner``: bounded threads, a running Dask cluster or a local one."""
    if settings.task_runner == "thread":
        return ThreadPoolTaskRunner(max_workers=settings.max_workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError as error:
        raise StudyError("run.task_runner is 'dask': install it with `pip install prefect-dask`") from error
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if settings.dask_address:
        return DaskTaskRunner(address=settings.dask_address)
    return DaskTaskRunner(cluster_kwargs={"n_workers": settings.max_workers, "threads_per_worker": 1})


def with_retries(task: Task[..., Any], settings: RunSettings) -> Task[..., Any]:
    """The task with the configured retries; a user's mistake is never tried again."""
    delays = [settings.retry_delay * 2**attempt for attempt in range(settings.retries)]
    return task.with_options(
        retries=settings.retries, retry_delay_seconds=delays or 0, retry_condition_fn=_worth_retrying
    )


def _worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    try:
        state.result()
    except Exception as error:
        return not getattr(error, "user_error", False)
    return False


def run_units(
    settings: RunSettings,
    progress: StageProgress,
    submit: Callable[[TaskRunner[Any], Any], Any],
    units: Iterable[Any],
) -> list[Any]:
    """Submit every unit, count each as it finishes, return the results in completion order.

    ``submit(runner, unit)`` returns the future of the unit's last task. The first failure is raised after the
    units already under way have ended; what they wrote is kept.
    """
    results = []
    with make_runner(settings) as runner:
        futures = [submit(runner, unit) for unit in units]
        for future in as_completed(futures):
            results.append(future.result())
            progress.step()
    return results
