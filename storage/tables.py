"""Parquet tables: written in parts, one per unit of work, read as one table sorted by its key.

A part belongs to its table when a completion record names it; other files beside the parts are not read.
"""

from __future__ import annotations

import functools
import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.formats import KEY, TABLE, TABLE_KEY, format_of
from storage.records import whole_records
from storage.schemas import KEYS, SCHEMAS, SORTS, WRITERS
from storage.shown import limits_of, shown_tables
from storage.vouch import check, digest_of_bytes

if TYPE_CHECKING:  # a query needs none of these, and is not to wait for them
    import numpy as np
    import pyarrow.dataset as ds

Filters = list[tuple[str, str, Any]]
OfStage = Callable[[str], dict[str, dict[str, Any]]]

ROW_GROUP_ROWS = 32_768  # measured by benchmarks/queries.py: half costs scans more, four times as many label look-ups
GROUP_BYTES = 16 * 2**20  # in memory: for one row Arrow reads them all, 40 images of 400 kB instead of 256
# A look-up in SQL reads no pages but those that may hold its rows: of a label in 36 parts it takes six tenths of the
# time that large pages take; scans and sizes stay as they are (benchmarks/label_rows.py). Arrow reads whole row groups.
PAGE_ROWS = 4096
DICTIONARY_BYTES = 8 * 2**20  # the captions of a row group: beyond the default of 1 MB they would be left plain
PROMPT = "prompt_id"
PLACE = ("block", "t", "conditioning", "k")
RUN_PART = re.compile(r"[a-z]+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")  # of `runs`: stage and flow run


def table_folder(root: str | Path, table: str) -> Path:
    """Folder of a table's parts. Raises ``StorageError`` for a name that is not a table."""
    if table not in SCHEMAS:
        raise StorageError(f"there is no table {table!r}: the tables are {', '.join(SCHEMAS)}")
    return Path(root) / "tables" / table


def as_table(table: str, columns: Mapping[str, Any], constants: Mapping[str, Any] | None = None) -> pa.Table:
    """An Arrow table of ``table``'s schema from columns of one length and values that all rows share; NaN is null."""
    schema = SCHEMAS[table]
    rows = len(next(iter(columns.values())))
    given = {**columns, **{name: [value] * rows for name, value in (constants or {}).items()}}
    arrays = [_array(given[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any] | np.ndarray, kind: pa.DataType) -> pa.Array:
    import numpy as np

    if isinstance(values, np.ndarray) and values.ndim == 1 and pa.types.is_floating(kind):
        return pa.array(values, kind, from_pandas=True)
    return pa.array(values if isinstance(values, np.ndarray) and values.ndim == 1 else list(values), kind)


def store_part(root: str | Path, table: str, part: str, rows: list[dict[str, Any]] | pa.Table) -> dict[str, Any]:
    """Write one part of a table, in the table's sort order, zstd-compressed, atomically. Returns what records say.

    A ``pa.Table`` is taken column by column, which a million rows need; a list of rows suits a few thousand. Raises
    ``StorageError`` if the rows do not fit the schema or two rows share a key.
    """
    data = _validated(table, rows)
    buffer = io.BytesIO()
    words = {**(SCHEMAS[table].metadata or {}), TABLE_KEY: str(TABLE).encode()}
    pq.write_table(data.replace_schema_metadata(words), buffer, **parquet_options(table, data))
    encoded = buffer.getvalue()
    write_atomic(part_path(root, table, part), encoded)
    facts = {KEY: TABLE, "part": part, "rows": data.num_rows, "sha256": digest_of_bytes(encoded)}
    return {**facts, **_range_of(table, data), **_place_of(data)}


def _range_of(table: str, data: pa.Table) -> dict[str, int]:
    """The first and last prompt of a part whose rows are in their order: what a reader can leave unopened by."""
    if SORTS[table][0] != PROMPT or not data.num_rows:
        return {}
    return {"first": data[PROMPT][0].as_py(), "last": data[PROMPT][-1].as_py()}


def _place_of(data: pa.Table) -> dict[str, Any]:
    """``only``: of the columns that name a dictionary those that have one value in all rows, and that value.

    A reader that asks for another one leaves the part unopened: a study of full size has 36 of a table.
    """
    named = [name for name in PLACE if name in data.column_names]
    values = {name: data[name].unique() for name in named}
    only = {name: found[0].as_py() for name, found in values.items() if len(found) == 1}
    return {"only": only} if only else {}


def part_path(root: str | Path, table: str, part: str) -> Path:
    """File of a table's part. Raises ``StorageError`` for a name that is not a table."""
    return table_folder(root, table) / f"{part}.parquet"


def parquet_options(table: str, data: pa.Table) -> dict[str, Any]:
    """How rows of a table are written."""
    schema = SCHEMAS[table]
    return {
        "compression": "zstd",
        "row_group_size": max(1, min(ROW_GROUP_ROWS, GROUP_BYTES * data.num_rows // max(data.nbytes, 1))),
        "max_rows_per_page": PAGE_ROWS,
        "write_page_index": True,
        "write_statistics": True,
        "write_page_checksum": True,
        "use_dictionary": [path for field in schema for path in _string_leaves(field.name, field.type)],
        "dictionary_pagesize_limit": DICTIONARY_BYTES,
        "sorting_columns": pq.SortingColumn.from_ordering(schema, [(name, "ascending") for name in SORTS[table]]),
    }


def _string_leaves(path: str, kind: pa.DataType) -> Iterator[str]:
    """Parquet's paths of the strings in a column, those within lists and structs too."""
    if pa.types.is_string(kind):
        yield path
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        yield from _string_leaves(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for inner in kind:
            yield from _string_leaves(f"{path}.{inner.name}", inner.type)


def _validated(table: str, rows: list[dict[str, Any]] | pa.Table) -> pa.Table:
    schema = SCHEMAS.get(table)
    if schema is None:
        raise StorageError(f"there is no table {table!r}: the tables are {', '.join(SCHEMAS)}")
    try:
        data = rows.cast(schema) if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
        data.validate(full=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError, KeyError) as error:
        raise StorageError(f"rows for table {table!r} do not fit its schema: {error}") from error
    for field in schema:
        if not field.nullable and data[field.name].null_count:
            raise StorageError(f"table {table!r}: column {field.name!r} may not be null")
    data = data.sort_by([(name, "ascending") for name in SORTS[table]])
    _refuse_duplicates(table, data)
    return data


def _refuse_duplicates(table: str, data: pa.Table) -> None:
    """Of sorted rows: equal keys are neighbours, since the sort order holds every column of the key."""
    import pyarrow.compute as pc

    same = pa.scalar(True)
    for name in KEYS[table]:
        same = pc.and_(same, pc.equal(data[name].slice(1), data[name].slice(0, max(data.num_rows - 1, 0))))
    if data.num_rows > 1 and pc.any(same).as_py():
        raise StorageError(f"table {table!r}: two rows share one key ({', '.join(KEYS[table])})")


def named_parts(root: str | Path, table: str, of_stage: OfStage | None = None) -> dict[Path, dict[str, Any]]:
    """The part files that completion records name, sorted, with what the record says: ``part``, ``rows``, ``sha256``.

    Of a study that grows, those of the growth that is shown (``storage.shown``). ``of_stage`` gives a stage's records
    to who asks for several tables, as ``whole_records`` would each time.

    Raises ``StorageError`` for a damaged record: without it rows would be lacking and nothing would say so; and
    ``NewerFormat`` for a part that a newer version of the code has written.
    """
    named, limits, folder = {}, limits_of(root), Path(root) / "tables" / table
    for stage in WRITERS[table]:
        for record in (of_stage(stage) if of_stage else whole_records(root, stage)).values():
            if facts := shown_tables(record, limits.get(stage)).get(table):
                path = folder / f"{facts['part']}.parquet"
                format_of(facts.get(KEY), TABLE, path)
                named[path] = facts
    if table == "runs" and not named:
        named = {path: {} for path in unrecorded_runs(root)}
    return dict(sorted(named.items(), key=lambda item: item[0].name))


class KnownParts:
    """The parts of a study's tables, looked up once: for a reader of many rows who notices when the folder changes.

    Records are read at the first question for a table. Several threads may ask.
    """

    def __init__(self, root: str | Path) -> None:
        self._root, self._lock = root, threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Look again from now on."""
        with self._lock:
            self._named: dict[str, dict[Path, dict[str, Any]]] = {}
            self._of_stage = functools.cache(functools.partial(whole_records, self._root))

    def named(self, table: str, filters: Filters | None = None) -> dict[Path, dict[str, Any]]:
        """As ``named_parts``, and raises as it does.

        With ``filters``, those are left out that hold no row that passes them, by their records.
        """
        with self._lock:
            found = self._named.get(table)
            if found is None:
                found = self._named[table] = named_parts(self._root, table, self._of_stage)
        return {path: facts for path, facts in found.items() if _may_hold(facts, filters)} if filters else found


def unrecorded_runs(root: str | Path) -> list[Path]:
    """Parts of ``runs`` of a folder from before they had records, known by their names alone."""
    return sorted(p for p in table_folder(root, "runs").glob("*.parquet") if RUN_PART.fullmatch(p.stem))


def parts(root: str | Path, table: str) -> list[Path]:
    """The part files of a table, sorted: those that a record names. Raises ``StorageError`` for a damaged record."""
    table_folder(root, table)
    return list(named_parts(root, table))


def checked_parts(
    root: str | Path, table: str, filters: Filters | None = None, known: KnownParts | None = None
) -> list[Path]:
    """The part files of a table, each compared with the digest in its record.

    With ``filters``, those that hold no prompt that passes them, by their records, are left out and not read.
    ``known``: parts that were looked up before. Raises ``StorageError`` for a part that is missing or damaged.
    """
    table_folder(root, table)
    known = known or KnownParts(root)
    try:
        return _check_parts(known, table, filters)
    except StorageError:
        # A unit that is written anew right now has replaced the part before its record: look again, once.
        known.forget()
        return _check_parts(known, table, filters)


def _check_parts(known: KnownParts, table: str, filters: Filters | None) -> list[Path]:
    wanted = known.named(table, filters)
    for path, facts in wanted.items():
        if "sha256" in facts:
            check(path, facts["sha256"])
    return list(wanted)


def _may_hold(facts: dict[str, Any], filters: Filters) -> bool:
    """Whether a part can hold a row that passes all filters, from its record: its range of prompts, its dictionary."""
    only = facts.get("only", {})
    if not all(_passes(only[name], op, value) for name, op, value in filters if name in only):
        return False
    if "first" not in facts:
        return True
    first, last = facts["first"], facts["last"]
    passes = {
        "==": lambda value: first <= value <= last,
        "in": lambda values: any(first <= value <= last for value in values),
        ">=": lambda value: last >= value,
        ">": lambda value: last > value,
        "<=": lambda value: first <= value,
        "<": lambda value: first < value,
    }
    return all(passes[op](value) for name, op, value in filters if name == PROMPT and op in passes)


def _passes(found: Any, op: str, value: Any) -> bool:
    """Whether one value passes a filter; of a comparison of order it is not said, and the part is opened."""
    return bool(found == value) if op == "==" else found in value if op == "in" else True


def scan_batches(
    root: str | Path,
    table: str,
    columns: list[str] | None = None,
    filters: Filters | None = None,
    known: KnownParts | None = None,
) -> Iterator[pa.RecordBatch]:
    """Record batches in no promised order, with bounded memory.

    Raises ``StorageError`` for a part that is missing or damaged.
    """
    files = checked_parts(root, table, filters, known)
    if not files:
        return
    try:
        yield from open_parts(table, files).to_batches(columns=columns, filter=_expression(filters))
    except (pa.ArrowInvalid, OSError) as error:
        raise StorageError(f"a part of {files[0].parent} cannot be read ({error}): run `concepts verify`") from error


def open_parts(table: str, files: list[Path]) -> ds.Dataset:
    """The files as one dataset: columns come from the schema alone, never from the names of folders above them."""
    import pyarrow.dataset as ds

    return ds.dataset([str(f) for f in files], schema=SCHEMAS[table], format=_format(), partitioning=None)


@functools.cache
def _format() -> ds.ParquetFileFormat:
    """Pages carry checksums of their own, which the reader compares: what changes between a part's check and this."""
    import pyarrow.dataset as ds

    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    return ds.ParquetFileFormat(default_fragment_scan_options=options)


def _expression(filters: Filters | None) -> Any:
    return pq.filters_to_expression(filters) if filters else None


def read_table(
    root: str | Path,
    table: str,
    columns: list[str] | None = None,
    filters: Filters | None = None,
    known: KnownParts | None = None,
) -> pa.Table:
    """The rows of a table, sorted by key; an empty table of the right schema if there are none."""
    wanted = None if columns is None else list(dict.fromkeys([*columns, *KEYS[table]]))
    schema = SCHEMAS[table] if wanted is None else pa.schema([SCHEMAS[table].field(c) for c in wanted])
    batches = [b for b in scan_batches(root, table, wanted, filters, known) if b.num_rows]
    rows = pa.Table.from_batches(batches, schema=schema) if batches else schema.empty_table()
    rows = rows.sort_by([(name, "ascending") for name in KEYS[table]])
    return rows if columns is None else rows.select(columns)


def count_rows(root: str | Path, table: str) -> int:
    """Number of rows, as the records say; of parts from before records had it, as their footers do."""
    return rows_of(named_parts(root, table))


def rows_of(named: Mapping[Path, Mapping[str, Any]]) -> int:
    """Number of rows of parts, given with what their records say."""
    return sum(facts["rows"] if "rows" in facts else pq.read_metadata(f).num_rows for f, facts in named.items())
