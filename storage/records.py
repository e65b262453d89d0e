"""Completion records: a unit of work is done when its record exists, written last and atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.formats import KEY, RECORD, NewerFormat, format_of


def record_path(root: str | Path, stage: str, unit: str) -> Path:
    """Path of a unit's record; ``unit`` may contain slashes."""
    return Path(root) / "done" / stage / f"{unit}.json"


def write_record(root: str | Path, stage: str, unit: str, payload: dict[str, Any], config_hash: str) -> None:
    """Publish a unit as done. ``payload`` is JSON-able; the hash of what the unit followed from is added.

    A payload that says its own format keeps it.
    """
    data = json.dumps({KEY: RECORD, **payload, "config_hash": config_hash}, sort_keys=True, indent=1)
    write_atomic(record_path(root, stage, unit), data.encode())


def read_record(root: str | Path, stage: str, unit: str) -> dict[str, Any] | None:
    """The record, or None if there is none or it cannot be read: a damaged record is a unit not done.

    Raises ``NewerFormat`` for a record that a newer version of the code has written.
    """
    path = record_path(root, stage, unit)
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    try:
        format_of(found.get(KEY), RECORD, path)
    except NewerFormat:
        raise
    except StorageError:
        return None
    return found


def forget_record(root: str | Path, stage: str, unit: str) -> None:
    """Remove a unit's record, if it has one: it is about to be written anew, or is no longer a unit."""
    record_path(root, stage, unit).unlink(missing_ok=True)


def is_done(root: str | Path, stage: str, unit: str, *hashes: str) -> bool:
    """Whether the unit has a record that carries one of the hashes."""
    record = read_record(root, stage, unit)
    return record is not None and record.get("config_hash") in hashes


def missing(root: str | Path, stage: str, units: list[str], *hashes: str) -> list[str]:
    """The units that still have to be done, in the order given."""
    return [unit for unit in units if not is_done(root, stage, unit, *hashes)]


def records(root: str | Path, stage: str) -> list[str]:
    """Names of the units of a stage that have a record, sorted."""
    folder = Path(root) / "done" / stage
    return sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.json"))
