"""Edits that a page asks for: one at a time, in a thread of their own, through the same code as `concepts edit`."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from concept_atlas import AtlasError
from explorer.source import Source

WAITING = 8  # that may stand in line: each takes seconds, on a large model minutes
REMEMBERED = 64  # whose state is told


@dataclass
class Job:
    """``state``: waiting, working, done or failed; ``said`` why it failed; ``edit``: the name of what was made.

    ``steps``: how many steps of its images are done, and of how many.
    """

    asked: dict[str, Any]
    state: str = "waiting"
    said: str = ""
    edit: str = ""
    begun: float = 0.0
    steps: tuple[int, int] = (0, 0)

    def come_to(self, done: int, of: int) -> None:
        """Keep how far it is."""
        self.steps = (done, of)


class Jobs:
    """A line of edits and the thread that makes them, which begins with the first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._line: queue.Queue[Job] = queue.Queue(WAITING)
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, asked: dict[str, Any]) -> str:
        """Put an edit in line; its number. Raises ``AtlasError`` where the line is full."""
        job, number = Job(asked), secrets.token_hex(8)
        try:
            self._line.put_nowait(job)
        except queue.Full:
            raise AtlasError(f"{WAITING} edits wait already: ask again when one is made") from None
        with self._lock:
            self._jobs[number] = job
            while len(self._jobs) > REMEMBERED:
                self._jobs.popitem(last=False)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="edits", daemon=True)
                self._thread.start()
        return number

    def told(self, number: str) -> dict[str, Any] | None:
        """What is known of an edit that was asked for; None for a number that is not known, or no longer."""
        with self._lock:
            job = self._jobs.get(number)
        if job is None:
            return None
        seconds = time.monotonic() - job.begun if job.state == "working" else 0.0
        told = {"state": job.state, "said": job.said, "edit": job.edit, "seconds": round(seconds, 1)}
        return {**told, "steps": list(job.steps)}

    def _work(self) -> None:
        while True:
            job = self._line.get()
            job.begun, job.state = time.monotonic(), "working"
            try:
                made = self._source.atlas.edit(
                    **job.asked, settings=self._source.models, keep=True, progress=job.come_to
                )
                job.edit, job.state = str(made.row["edit"]), "done"
            except AtlasError as error:
                job.said, job.state = str(error), "failed"
            except Exception as error:  # the thread has to live on for the next one
                job.said, job.state = f"The edit failed: {type(error).__name__}: {error}"[:500], "failed"
