"""Which growth of a study its tables show: readers see the old one until all of the new one is there, and then that.

While a study grows, parts of the new growth lie beside those of the old, and each record that replaces one says what
its unit had ``former``ly. A mark, ``done/study/shown.json``, says of every stage which growth is shown; replacing it is
what shows the next. Who writes the study reads the newest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from storage.records import read_record, records, write_record

MARK = ("study", "shown")
OF_GROWTH, FORMER, FORMER_FILES = "of_growth", "former", "former_files"  # in a record
TRAINED_ON, FORMER_TRAINED = "trained_on", "former_trained"  # of SAEs

_writers = 0
_lock = threading.Lock()


@contextmanager
def newest() -> Iterator[None]:
    """Have this process, which writes the study, read what it has written."""
    global _writers
    with _lock:
        _writers += 1
    try:
        yield
    finally:
        with _lock:
            _writers -= 1


def shown_growths(root: str | Path) -> dict[str, int]:
    """Stage -> the latest growth that is shown of it; a stage that is not named is shown whole."""
    return dict((read_record(root, *MARK) or {}).get(MARK[1], {}))


def limits_of(root: str | Path) -> dict[str, int]:
    """The same for who reads: nothing is hidden from a process that writes."""
    return {} if _writers else shown_growths(root)


def shown_tables(record: Mapping[str, Any], limit: int | None) -> dict[str, Any]:
    """What a record says of its unit's parts, table by table, as far as growths up to ``limit`` are shown."""
    hidden = limit is not None and record.get(OF_GROWTH, 0) > limit
    tables: dict[str, Any] = record.get(FORMER, {}) if hidden else record.get("tables", {})
    return tables


def hide_later(root: str | Path, stages: Iterable[str], growth: int) -> None:
    """Show no stage beyond ``growth`` until ``show`` says so."""
    known = shown_growths(root)
    wanted = {stage: min(known.get(stage, growth), growth) for stage in stages}
    if wanted != known:
        write_record(root, *MARK, {MARK[1]: wanted}, "")


def show(root: str | Path, stages: Iterable[str], growth: int) -> None:
    """Show stages up to a growth: all at once. Then the parts that only former growths had are removed."""
    known, shown = shown_growths(root), list(stages)
    wanted = known | dict.fromkeys(shown, growth)
    if not known or wanted == known:
        return
    write_record(root, *MARK, {MARK[1]: wanted}, "")
    for stage in shown:
        for unit in records(root, stage):
            remove_former(root, read_record(root, stage, unit) or {})


def remove_former(root: str | Path, record: Mapping[str, Any]) -> None:
    """Remove the parts that a unit had formerly and has no longer."""
    for table, facts in record.get(FORMER, {}).items():
        if record.get("tables", {}).get(table, {}).get("part") != facts["part"]:
            (Path(root) / "tables" / table / f"{facts['part']}.parquet").unlink(missing_ok=True)
