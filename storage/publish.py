"""Publishing a finished unit of work: its files and table parts are whole before the record that names them exists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from storage.claims import publishing_present
from storage.records import forget_record, is_done, records, write_record
from storage.tables import store_part, unrecorded_runs
from storage.vouch import digest_of

RUNS = "runs"


def publish_unit(
    root: str | Path,
    stage: str,
    unit: str,
    tables: Mapping[str, Any],
    part: str,
    config_hash: str,
    files: Iterable[Path] = (),
    extra: Mapping[str, Any] | None = None,
    still_shown: bool = False,
) -> None:
    """Write each table's part, then the record that makes the unit done.

    ``files`` lie below the root and have been written already. The record carries the SHA-256 of every part and file,
    which readers compare when they open one and ``concepts verify`` compares for all. A record of before goes first: it
    must not vouch for what is half replaced; but for one whose parts are ``still_shown``, and lie elsewhere.

    Of work under a claim, a record that somebody else has written meanwhile stays as it is, with all that it names:
    others may be reading. Raises ``ClaimLost`` if the claim is lost.
    """
    with publishing_present((stage, unit), lambda: is_done(root, stage, unit, config_hash)) as wanted:
        if not wanted:
            return
        if not still_shown:
            forget_record(root, stage, unit)
        written = {table: store_part(root, table, part, rows) for table, rows in tables.items()}
        named = {path.relative_to(root).as_posix(): digest_of(path) for path in sorted(files)}
        payload = {**(extra or {}), "tables": written, "files": named}
        write_record(root, stage, unit, payload, config_hash)


def publish_run(root: str | Path, name: str, row: dict[str, Any], extra: Mapping[str, Any] | None = None) -> None:
    """Add a row to ``runs``, under a record of its own; rows of a folder from before they had any get theirs first."""
    if not records(root, RUNS):
        for path in unrecorded_runs(root):
            facts = {"part": path.stem, "rows": pq.read_metadata(path).num_rows, "sha256": digest_of(path)}
            write_record(root, RUNS, path.stem, {"tables": {RUNS: facts}, "files": {}}, row["config_hash"])
    publish_unit(root, RUNS, name, {RUNS: [row]}, name, row["config_hash"], extra=extra)
