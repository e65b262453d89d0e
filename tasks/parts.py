"""Publishing a finished unit of work: table parts first, the completion record last."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.records import write_record
from storage.tables import write_part
from tasks.study import Study

Rows = list[dict[str, Any]] | Any  # or a pa.Table, which carries no types


def shard_name(shard: int) -> str:
    """Name of a shard in records and table parts."""
    return f"{shard:06d}"


def publish(
    study: Study,
    stage: str,
    unit: str,
    tables: dict[str, Rows],
    part: str | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write each table's part, then the record that makes the unit done.

    The record carries the SHA-256 of every part, which is what ``concepts verify`` checks.
    """
    name = part or unit.replace("/", "-")
    written: dict[str, Any] = {}
    for table, rows in tables.items():
        path = Path(write_part(study.root, table, name, rows))
        count = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
        written[table] = {"part": name, "rows": count, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_record(study.root, stage, unit, {**(extra or {}), "tables": written}, study.config_hash)
