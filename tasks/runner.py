"""Running a stage's units as Prefect tasks on the task runner that the configuration names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple, Self

from prefect import Task
from prefect.futures import as_completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from storage.errors import AtlasError
from study.config import RunSettings
from tasks.progress import StageProgress

FIRST_SECONDS = 20.0  # for a cluster that should be there; one that was lost is given longer


@contextmanager
def started_runner(settings: RunSettings, patience: float = FIRST_SECONDS) -> Iterator[TaskRunner[Any]]:
    """The task runner of ``run.task_runner``: bounded threads, a running Dask cluster or a local one.

    ``patience`` is how many seconds a running cluster is given to answer. Raises ``StudyError`` if it does not, and
    ``ClusterLost`` if its scheduler goes away while the context is open.
    """
    if settings.task_runner == "thread":
        with ThreadPoolTaskRunner(max_workers=settings.at_once) as threads:  # type: ignore[var-annotated]
            yield threads
        return
    from tasks.cluster import dask_runner

    with dask_runner(settings, patience) as runner:
        yield runner


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
        return not isinstance(error, AtlasError)
    return False


class Step(NamedTuple):
    """One task of a chain, the progress that counts it, and whether it needs no device."""

    task: Task[..., Any]
    parameters: dict[str, Any]
    progress: StageProgress
    on_cpu: bool = False


class Runner:
    """Runs chains of tasks for one command. Its task runner is started for the first of them and kept for the next.

    A cluster of the command's own takes its workers some seconds each to start. It ends with the command, and with it
    the models that its workers hold.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self._open = ExitStack()
        self._started: TaskRunner[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        self._open.__exit__(*raised)

    def run(self, chains: list[list[Step]], patience: float = FIRST_SECONDS) -> list[Any]:
        """Run chains, each task after the one before it in its chain. Returns the results, as they came in.

        The first failure is raised after what is under way has ended; what it wrote is kept. ``patience`` and what else
        is raised are ``started``'s.
        """
        with self.started(patience) as runner:
            return _run_on(runner, self.settings, chains)

    def slots(self, on_cpu: bool = False) -> int:
        """How many units can be worked on at once, of those that need a device unless it is said otherwise.

        On a running cluster, as many as its workers have threads, and what ``run.dask_resources`` asks of them.
        """
        if self._started is None or self.settings.task_runner == "thread" or not self.settings.dask_address:
            return self.settings.at_once
        from tasks.cluster import room

        client = getattr(self._started, "client")  # noqa: B009  Dask's alone has one
        return max(1, room(client, {} if on_cpu else self.settings.dask_resources))

    @contextmanager
    def started(self, patience: float = FIRST_SECONDS) -> Iterator[TaskRunner[Any]]:
        """The task runner, started if need be; ``patience`` and what is raised are ``started_runner``'s.

        After any failure within it is started anew.
        """
        try:
            if self._started is None:
                self._started = self._open.enter_context(started_runner(self.settings, patience))
            yield self._started
        except BaseException:
            ended, self._open, self._started = self._open, ExitStack(), None
            with ended:  # says what a cluster's failure means
                raise


def submitted(runner: TaskRunner[Any], settings: RunSettings, step: Step, before: list[Any]) -> Any:
    """The future of a step that is to begin when the last of those ``before`` it has ended."""
    with _asking_for_a_device(step, settings):
        return runner.submit(with_retries(step.task, settings), step.parameters, wait_for=before[-1:])


def _asking_for_a_device(step: Step, settings: RunSettings) -> AbstractContextManager[Any]:
    """What has a cluster give the task to a worker that has a device for it."""
    if step.on_cpu or settings.task_runner == "thread" or not settings.dask_resources:
        return nullcontext()
    import dask

    annotated: AbstractContextManager[Any] = dask.annotate(resources=dict(settings.dask_resources))
    return annotated


def _run_on(runner: TaskRunner[Any], settings: RunSettings, chains: list[list[Step]]) -> list[Any]:
    """All first tasks are submitted before the second ones: a task that waits for another holds a worker meanwhile."""
    futures: list[list[Any]] = [[] for _ in chains]
    progress_of: dict[int, StageProgress] = {}
    for depth in range(max(map(len, chains), default=0)):
        for chain, before in zip(chains, futures, strict=True):
            if depth < len(chain):
                step = chain[depth]
                future = submitted(runner, settings, step, before)
                before.append(future)
                progress_of[id(future)] = step.progress
    results = []
    try:
        for future in _finished([chain for chain in futures if chain]):
            results.append(future.result())
            progress_of[id(future)].step(results[-1])
            release(future)
    except BaseException:
        _count_failed(futures, progress_of)
        raise
    return results


def _count_failed(futures: list[list[Any]], progress_of: dict[int, StageProgress]) -> None:
    """Tell of every task that could not be done; one that waited for it never began, and is none."""
    for future in (future for chain in futures for future in chain):
        if future.state.is_failed() or future.state.is_crashed():
            progress_of[id(future)].fail()


def _finished(chains: list[list[Any]]) -> Iterator[Any]:
    """Every future of the chains as it ends well. Of one that does not, the error of the task that failed is raised.

    A task whose predecessor failed never starts, and says only that; so its chain is asked from the front.
    """
    chain_of = {id(future): chain for chain in chains for future in chain}
    for future in as_completed([future for chain in chains for future in chain]):
        chain = chain_of[id(future)]
        for step in chain[: chain.index(future) + 1]:
            step.result()
        yield future


def release(future: Any) -> None:
    """Let a cluster forget a task that has been counted: what it remembers it does again when a worker dies."""
    release = getattr(future.wrapped_future, "release", None)
    if release is not None:
        release()
