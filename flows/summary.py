"""The page of a flow run: one markdown artifact that lives, from the run's beginning to its end.

It is written by a thread of its own, at most once a second and where something has changed, so that a unit of work
never waits for it. An update costs the server 20 ms of a processor; one that a command started for itself shows nobody
anything, and is told every half minute. A server that is away costs a turn and the run nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import runtime
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from flows.last_pictures import LastPictures
from flows.pages import Count, Facts, page
from flows.server import has_ui, ui_url
from storage.sizes import Sizes
from study.study import Study
from tasks.keys import artifact_key
from tasks.logs import run_logger
from tasks.progress import StageProgress, Watcher, watching

PERIOD_S = 1.0
UNSEEN_PERIOD_S = 30.0  # where there is no UI: the page is for who opens one later, also after a kill
LAST_SECONDS = 10.0  # that the end of a run waits for its page's last update
_open: list[Summary] = []  # the whole study's, and within it that of the stage's flow that runs


class Summary(Watcher):
    """Keeps the page of one flow run. A context: the page is made when it opens, and told the end when it closes."""

    def __init__(self, study: Study, flow: str, counts: dict[str, Count], units: int) -> None:
        self.study, self.units = study, units
        self.facts = Facts(study.config.name, str(Path(study.root).absolute()), flow, datetime.now(UTC), counts)
        self.made = 0
        self._sizes, self._pictures = Sizes(study.root), LastPictures(study.root)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._shown = ""

    def __enter__(self) -> Summary:
        self.facts.sizes = self._sizes.measured()
        self._shown = page(self.facts)
        self._artifact: UUID = create_markdown_artifact(  # type: ignore[assignment]
            self._shown,
            key=artifact_key(self.study.config.name, "summary"),
            description=f"Where {'the whole study' if self.facts.flow == 'run' else self.facts.flow} is, as it goes",
        )
        # With the settings of this context: the address of the server is one of them.
        keep_up = contextvars.copy_context().run
        self._thread = threading.Thread(target=keep_up, args=(self._keep_up,), name="summary", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, _kind: Any, error: BaseException | None, _trace: Any) -> None:
        with self._lock:
            self.facts.under_way.clear()
            self.facts.ended = datetime.now(UTC)
            self.facts.end = self._end(error)
        self._over.set()
        self._thread.join(LAST_SECONDS)

    def _end(self, error: BaseException | None) -> str:
        if error is not None:
            said = " ".join(str(error).split())[:300]
            return f"it broke off ({said or type(error).__name__}); what was finished is kept"
        if self.made:
            return "finished"
        said = f"nothing to do: all {self.units} units are done"
        run_logger(self.study).info(said)
        return said

    def begun(self, unit: str) -> None:
        """Show the unit as the one that is being done."""
        with self._lock:
            self.facts.under_way.append(unit)

    def ended(self, unit: str) -> None:
        """It is the last one now."""
        with self._lock, contextlib.suppress(ValueError):  # the run may have ended before it
            self.facts.under_way.remove(unit)
            self.facts.last = unit

    def counted(self, progress: StageProgress, made: Any) -> None:
        """Show where the stage is."""
        with self._lock:
            self.facts.counts[progress.stage] = (progress.done, progress.total)
            if made is not None:
                self.made += 1
                self.facts.stage, self.facts.progress = progress.stage, progress.words

    def add_run(self, flow: str, flow_run_id: str) -> None:
        """Link the run of one of the flows that this one is made of."""
        address = f"{url.rstrip('/')}/runs/flow-run/{flow_run_id}" if (url := ui_url()) else ""
        with self._lock:
            self.facts.runs[flow] = address

    def _keep_up(self) -> None:
        with get_client(sync_client=True) as client:
            period = PERIOD_S if has_ui() else UNSEEN_PERIOD_S
            while not self._over.wait(period):
                self._update(client)
            self._sizes.forget()
            self._pictures.forget()
            self._update(client)

    def _update(self, client: Any) -> None:
        sizes, pictures = self._sizes.measured(), self._pictures.markdown()
        with self._lock:
            self.facts.sizes, self.facts.pictures = sizes, pictures
            text = page(self.facts)
        if text != self._shown:
            with contextlib.suppress(Exception):  # whatever it is: the next turn shows the same and more
                client.update_artifact(self._artifact, ArtifactUpdate(data=text))
                self._shown = text


@contextlib.contextmanager
def summarised(study: Study, flow: str, counts: dict[str, Count], units: int) -> Iterator[None]:
    """Keep the page of the present flow run, linked from that of the flow run that it is part of."""
    flow_run_id = runtime.flow_run.id
    if flow_run_id is None:
        yield
        return
    for outer in _open:
        outer.add_run(flow, str(flow_run_id))
    with Summary(study, flow, counts, units) as summary, watching(summary):
        _open.append(summary)
        try:
            yield
        finally:
            _open.remove(summary)
