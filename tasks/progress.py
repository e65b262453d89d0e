"""Progress of a stage, told to whoever listens: the terminal's bars, Prefect's artifacts, a page, metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from study.words import duration
from tasks.keys import artifact_key

Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []
_watchers: list[Watcher] = []
ARTIFACT_PERIOD_S = 1.0  # the server takes in about 70 events/s: one update a second is plenty
UNSEEN_PERIOD_S = 30.0  # where nobody can look at it meanwhile: it is for who opens a server with pages later
_period = [ARTIFACT_PERIOD_S]


class Watcher:
    """Is told what happens to units while it watches. A subclass takes from it what it needs.

    ``begun`` and ``ended`` are called in the thread that does the work, and for work of this process alone: what a
    cluster's workers are at is not known here.
    """

    def begun(self, unit: str) -> None:
        """A piece of work has begun; ``unit`` is its name in words."""

    def ended(self, unit: str) -> None:
        """It has ended, well or not."""

    def counted(self, progress: StageProgress, made: Any) -> None:
        """A stage has counted; ``made`` is what the finished piece of work returned, None if this process made none."""

    def failed(self, stage: str) -> None:
        """A piece of a stage's work has failed for good."""


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(stage, done, total)`` on every step while the context is open."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def seldom_told() -> Iterator[None]:
    """Bring artifacts up to date each half minute and at a stage's end: the server in use shows them to nobody."""
    _period.append(UNSEEN_PERIOD_S)
    try:
        yield
    finally:
        _period.pop()


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` what happens while the context is open."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


@contextmanager
def under_way(unit: str) -> Iterator[None]:
    """Tell watchers of this process that a piece of work is being done."""
    watchers = list(_watchers)
    for watcher in watchers:
        watcher.begun(unit)
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.ended(unit)


class StageProgress:
    """Counts finished units of one stage inside a flow run."""

    def __init__(self, stage: str, done: int, total: int, study: str = "") -> None:
        self.stage, self.done, self.total = stage, done, total
        self._before, self._begun = done, time.monotonic()
        self._last = self._stepped = self._begun
        key = artifact_key(study, stage, "progress") if study else f"{stage}-progress"
        self._artifact = create_progress_artifact(self._percent(), key=key, description=self._description())
        self._tell(None)

    def set_done(self, done: int) -> None:
        """Count anew: units that ended unseen, on a cluster that was lost, are done as well."""
        self.done = done

    def step(self, made: Any = None) -> None:
        """Record one more finished unit, and what its work returned."""
        self._count({} if made is None else made)

    def see(self) -> None:
        """Record a unit that another process has made: one less to do, and none that this one has made."""
        self._count(None)

    def _count(self, made: Any) -> None:
        self.done += 1
        now = self._stepped = time.monotonic()
        self._tell(made)
        if now - self._last >= _period[-1] or self.done >= self.total:
            self._last = now
            update_progress_artifact(self._artifact, self._percent(), self._description())  # type: ignore[arg-type]

    def fail(self) -> None:
        """Record a unit that could not be made."""
        for watcher in _watchers:
            watcher.failed(self.stage)

    @property
    def seconds_each(self) -> float | None:
        """From one finished unit to the next, on average over this run; None before the first."""
        made = self.done - self._before
        return (self._stepped - self._begun) / made if made > 0 else None

    @property
    def words(self) -> str:
        """``3 of 12 units, 4.2 s each, 38 s left``, as far as it is known."""
        counts = f"{self.done} of {self.total} {'unit' if self.total == 1 else 'units'}"
        if self.seconds_each is None:
            return counts
        left = self.seconds_each * (self.total - self.done)
        return f"{counts}, {duration(self.seconds_each)} each" + (f", {duration(left)} left" if left else "")

    def _percent(self) -> float:
        return 100.0 * self.done / max(self.total, 1)

    def _description(self) -> str:
        return f"{self.stage}: {self.words}"

    def _tell(self, made: Any) -> None:
        for listener in _listeners:
            listener(self.stage, self.done, self.total)
        for watcher in _watchers:
            watcher.counted(self, made)
