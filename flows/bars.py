"""A run's progress on stderr: bars in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bars(wanted: bool = True) -> Iterator[None]:
    """Bars in a terminal; one line a stage elsewhere, so that a log file stays readable. Nothing if not ``wanted``."""
    if not wanted:
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from flows.interrupts import farewell
    from tasks.progress import listening

    console = Console(stderr=True)
    if not console.is_terminal:
        with listening(_log_line):
            yield
        return
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars: dict[str, Any] = {}
    with farewell(lambda: _leave_terminal(console)), Progress(*columns, console=console) as progress:

        def listener(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done)

        with listening(listener):
            yield


def _leave_terminal(console: Any) -> None:
    """A new line for the last words, and the cursor that the bars hide."""
    console.line()
    console.show_cursor(True)


def _log_line(stage: str, done: int, total: int) -> None:
    if done == total or done % max(total // 4, 1) == 0:
        # Not print: flows send that to Prefect's log.
        sys.stderr.write(f"{stage}: {done}/{total}\n")
        sys.stderr.flush()
