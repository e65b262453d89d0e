"""Progress of a stage, told to whoever listens: the terminal's bars and Prefect's progress artifact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prefect.artifacts import create_progress_artifact, update_progress_artifact

Listener = Callable[[str, int, int], None]
_listeners: list[Listener] = []
ARTIFACT_PERIOD_S = 1.0  # the server takes in about 70 events/s: one update a second is plenty


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Call ``listener(stage, done, total)`` on every step while the context is open."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class StageProgress:
    """Counts finished units of one stage inside a flow run."""

    def __init__(self, stage: str, done: int, total: int) -> None:
        self.stage, self.done, self.total = stage, done, total
        self._artifact = create_progress_artifact(self._percent(), key=f"{stage}-progress", description=stage)
        self._last = time.monotonic()
        self._tell()

    def set_done(self, done: int) -> None:
        """Count anew: units that ended unseen, on a cluster that was lost, are done as well."""
        self.done = done

    def step(self, units: int = 1) -> None:
        """Record ``units`` more finished units."""
        self.done += units
        self._tell()
        now = time.monotonic()
        if now - self._last >= ARTIFACT_PERIOD_S or self.done >= self.total:
            self._last = now
            update_progress_artifact(self._artifact, self._percent())  # type: ignore[arg-type]

    def _percent(self) -> float:
        return 100.0 * self.done / max(self.total, 1)

    def _tell(self) -> None:
        for listener in _listeners:
            listener(self.stage, self.done, self.total)
