"""Completion records: a unit of work is done when its record exists, written last and atomically.

A record carries a digest of its own (``sha256``, of all the rest) and the name of the unit that it is of, so that a
record that was damaged, or copied beside another, vouches for nothing.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.formats import FIRST, KEY, RECORD, NewerFormat, format_of
from storage.vouch import REMEDY, Stamp, digest_of_bytes, stamp_of

SELF, NAME, SUFFIX = "sha256", "unit", ".json"


def record_path(root: str | Path, stage: str, unit: str) -> Path:
    """Path of a unit's record; ``unit`` may contain slashes."""
    return Path(_file(root, stage, unit))


def _file(root: str | Path, stage: str, unit: str) -> str:
    """The same without a Path, which takes as long to make as the record to read: a study may have 10,000 shards."""
    return os.path.join(root, "done", stage, unit + SUFFIX)  # noqa: PTH118


def write_record(root: str | Path, stage: str, unit: str, payload: dict[str, Any], config_hash: str) -> None:
    """Publish a unit as done. ``payload`` is JSON-able; the hash of what the unit followed from is added.

    A payload that says its own format keeps it.
    """
    kept = {key: value for key, value in payload.items() if key != SELF}
    facts = {KEY: RECORD, **kept, NAME: f"{stage}/{unit}", "config_hash": config_hash}
    write_atomic(record_path(root, stage, unit), _text({**facts, SELF: digest_of_bytes(_text(facts))}))


def read_record(root: str | Path, stage: str, unit: str) -> dict[str, Any] | None:
    """The record, or None if there is none or it cannot be read: a damaged record is a unit not done.

    Raises ``NewerFormat`` for a record that a newer version of the code has written.
    """
    path = _file(root, stage, unit)
    try:
        record = _parsed(path, stamp_of(path))
    except NewerFormat:
        raise
    except (OSError, ValueError):
        return None
    return dict(record) if record.get(NAME, f"{stage}/{unit}") == f"{stage}/{unit}" else None


def parsed_record(path: Path) -> dict[str, Any]:
    """What a record file holds, whichever unit it says that it is of. Raises as ``_parsed`` does."""
    return _parsed(str(path), stamp_of(path))


@functools.lru_cache(maxsize=100_000)
def _parsed(path: str, stamp: Stamp) -> dict[str, Any]:
    """What a record file of this stamp holds.

    Raises ``OSError`` or ``ValueError`` if it is not whole, ``NewerFormat`` if a newer version has written it.
    """
    with open(path, "rb") as file:  # noqa: PTH123 - as in ``_file``
        data = file.read()
    record = json.loads(data)
    if not isinstance(record, dict):
        raise ValueError("no mapping")
    if SELF in record or NAME in record:  # the first format had neither
        if not _is_sealed(data, record):
            raise ValueError("its checksum is not its own")
        format_of(record.get(KEY), RECORD, path)
    elif format_of(record.get(KEY), RECORD, path) > FIRST:
        raise ValueError("it lacks its checksum")
    return record


def _is_sealed(data: bytes, record: dict[str, Any]) -> bool:
    """Whether a record's digest is that of all the rest, written as we write it.

    Taken out as a line, the digest leaves the bytes that it was taken of, and need not be written again to be known:
    of 10,000 records that is most of the time. Where the line is not found, they are written again.
    """
    line = f'\n "{SELF}": "{record.get(SELF)}",'.encode()
    before, found, after = data.partition(line)
    if found and digest_of_bytes(before + after) == record[SELF]:
        return True
    rest = {key: value for key, value in record.items() if key != SELF}
    return record.get(SELF) == digest_of_bytes(_text(rest)) and data == _text(record)


def _text(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, sort_keys=True, indent=1).encode()


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
    """Names of the units of a stage that have a record, sorted; files that another program hid are none."""
    folder = str(Path(root) / "done" / stage)
    return sorted(
        os.path.join(parent, name)[len(folder) + 1 : -len(SUFFIX)]  # noqa: PTH118 - a Path for each takes ten times as long
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(SUFFIX) and not name.startswith(".")
    )


def whole_records(root: str | Path, stage: str) -> dict[str, dict[str, Any]]:
    """Every record of a stage by unit, sorted; a whole record under another unit's name is a copy and left out.

    Raises ``StorageError`` for one that is damaged: what it vouched for is not known, and a reader would lack it.
    """
    whole: dict[str, dict[str, Any]] = {}
    for unit in records(root, stage):
        path = _file(root, stage, unit)
        try:
            record = _parsed(path, stamp_of(path))
        except FileNotFoundError:  # forgotten meanwhile: about to be written anew
            continue
        except NewerFormat:
            raise
        except (OSError, ValueError) as error:
            raise StorageError(f"{Path(path)} is damaged ({error}): {REMEDY}") from error
        if record.get(NAME, f"{stage}/{unit}") == f"{stage}/{unit}":
            whole[unit] = record
    return whole
