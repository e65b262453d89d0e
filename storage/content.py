"""A hash of a table's rows, whatever parts they lie in, that holds a part at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.errors import StorageError
from storage.schemas import KEYS, SORTS
from storage.tables import PROMPT, checked_parts, named_parts, open_parts

ROWS = 1024  # made into Python objects at a time
Key = tuple[Any, ...]


def content_hash(root: str | Path, table: str) -> str:
    """SHA-256 of the rows in key order, independent of parts, row groups and compression.

    Parts whose keys do not overlap, which are those of most tables, are read one after the other; those that do, at
    once. Raises ``StorageError`` for a part that is missing or damaged.
    """
    digest = hashlib.sha256()
    try:
        for batch in _in_order(root, table):
            for start in range(0, batch.num_rows, ROWS):
                for row in batch.slice(start, ROWS).to_pylist():
                    digest.update(repr(sorted(row.items())).encode())
    except (pa.ArrowInvalid, OSError) as error:
        raise StorageError(f"a part of table {table} cannot be read ({error}): run `concepts verify`") from error
    return digest.hexdigest()


def _in_order(root: str | Path, table: str) -> Iterator[pa.Table | pa.RecordBatch]:
    """The rows in key order, some at a time."""
    facts = named_parts(root, table)
    bounds = {path: _bounds(table, path, facts.get(path, {})) for path in checked_parts(root, table)}
    for group in overlapping({path: found for path, found in bounds.items() if found is not None}):
        if len(group) == 1 and SORTS[table] == KEYS[table]:
            yield from open_parts(table, group).to_batches()
        else:
            yield open_parts(table, group).to_table().sort_by([(name, "ascending") for name in KEYS[table]])


def _bounds(table: str, path: Path, facts: dict[str, Any]) -> tuple[Key, Key] | None:
    """The first and last key of a part; None for one without rows."""
    if KEYS[table] == (PROMPT,) and "first" in facts:
        return (facts["first"],), (facts["last"],)
    keys = open_parts(table, [path]).to_table(columns=list(KEYS[table]))
    if not keys.num_rows:
        return None
    if SORTS[table] != KEYS[table]:
        keys = keys.sort_by([(name, "ascending") for name in KEYS[table]])
    first, last = (tuple(keys.slice(at, 1).to_pylist()[0].values()) for at in (0, keys.num_rows - 1))
    return first, last


def overlapping(bounds: dict[Path, tuple[Key, Key]]) -> list[list[Path]]:
    """The parts in key order, those together whose ranges of keys overlap, directly or by way of others."""
    groups: list[list[Path]] = []
    end: Key = ()
    for path, (first, last) in sorted(bounds.items(), key=lambda item: item[1]):
        if groups and first <= end:
            groups[-1].append(path)
        else:
            groups.append([path])
        end = max(end, last)
    return groups
