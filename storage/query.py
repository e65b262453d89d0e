"""SQL over a study's tables, by DuckDB: each table is a view of its own name, and nothing else can be read.

So is what ``storage.declared_views`` joins of them.

A query is one statement that reads (``storage.statement``). DuckDB may open the parts of the tables that the statement
names and no other file, its settings are locked, and neither extensions nor Python's variables are looked up.
"""

from __future__ import annotations

import glob
import re
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from storage.declared_views import VIEWS
from storage.errors import StorageError
from storage.render import FORMATS, TEXT_FORMATS, render, rendered
from storage.schemas import SCHEMAS
from storage.shape import MACRO, quoted_name, quoted_text, shaped, with_numbers
from storage.statement import ALLOWED, refuse_unless_reading
from storage.study import read_study
from storage.tables import Filters, KnownParts, checked_parts, table_folder
from storage.vouch import Stamp, stamp_of

__all__ = ["FORMATS", "OpenTables", "query", "render", "rendered"]

CATALOGUE = re.compile(r"\b(show|pragma|information_schema|(duckdb|pragma|sqlite|pg)_\w+)\b", re.I)  # list the tables
CHECKED_BYTES = 2**30  # of one table: hashing them takes a second; `images` of a full study holds 150 GB
ANSWER_BYTES = 2**30  # an answer is held in memory, outside DuckDB's own limit
ROWS_AT_ONCE = 100_000  # taken over from DuckDB in one batch
SETTINGS = {
    "python_enable_replacements": "false",  # names of Python's variables would be tables
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "''",  # a query that outgrows the memory fails rather than fill the disk
    "TimeZone": "'UTC'",  # the answer does not depend on where it is asked
}


def query(
    root: str | Path, sql: str, form: str | None = None, notice: Callable[[str], None] = warnings.warn
) -> pa.Table:
    """The answer to one SQL statement that reads. For a ``form`` of text, dates and times are text already.

    ``notice`` is told of tables too large to be compared with their digests first. Raises ``StorageError`` for any
    other statement, with DuckDB's own words if it fails, or if a part of a table that it names is damaged.
    """
    read_study(root)
    folder = Path(root).resolve()
    text = form in TEXT_FORMATS
    with _in_our_words(sql):
        return _answer(Source(folder, notice), sql, text)


@contextmanager
def _in_our_words(sql: str) -> Iterator[None]:
    """Raises ``StorageError`` for what DuckDB says of a statement."""
    if not _has_bytes(sql):
        raise StorageError("the query is not valid UTF-8: write it again")
    try:
        yield
    except duckdb.PermissionException as error:
        raise StorageError(f"the query asks for a file or a setting that is not for it: {ALLOWED}") from error
    except duckdb.OutOfMemoryException as error:
        raise StorageError("the query needs more memory than there is: ask for fewer rows or columns") from error
    except duckdb.Error as error:
        raise StorageError(f"the query failed: {' '.join(str(error).split())}") from error


def _has_bytes(text: str) -> bool:
    """Whether it is Unicode: bytes of another encoding, in an argument or a path, come as halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class OpenTables:
    """Tables of a study, opened once for many statements: ``query`` opens them for each, which takes 30 ms.

    They are opened anew when a part has come, gone or been replaced. Several threads may ask; each waits for its turn.
    """

    def __init__(
        self,
        root: str | Path,
        tables: Sequence[str],
        notice: Callable[[str], None] = warnings.warn,
        known: KnownParts | None = None,
    ) -> None:
        """``tables``: those that statements may name. ``notice``: as of ``query``. ``known``: which parts there are.

        Raises ``StorageError`` for a name that is no table's.
        """
        for table in tables:
            table_folder(root, table)
        self._source, self._tables = Source(Path(root).resolve(), notice, known), list(tables)
        self._lock, self._open = threading.Lock(), ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opened: list[tuple[Path, Stamp]] = []
        self._files: dict[str, dict[str, str]] = {}  # of each table: a part's name -> its path as DuckDB is given it

    def query(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """The answer to a statement that reads these tables, with ``values`` for its question marks.

        Raises as ``query`` does.
        """

        def ask(connection: duckdb.DuckDBPyConnection, alike: bool) -> pa.Table:
            with connection.cursor() as aside:  # what the check asks would stand in the way of the statement
                refuse_unless_reading(aside, sql)
            return _rows(connection, sql, False, values)

        with _in_our_words(sql):
            return self._asked(ask)

    def rows(self, table: str, columns: Sequence[str], where: Mapping[str, Any]) -> pa.Table:
        """Some columns of the rows of one of these tables that have the values of ``where``, in no promised order.

        No part is opened whose record says that it holds none of them: of one dictionary among 36, six tenths of a
        statement's time (benchmarks/concept_rows.py). Raises as ``query`` does.
        """
        filters: Filters = [(name, "==", value) for name, value in where.items()]
        asked = " AND ".join(f"{quoted_name(name)} = ?" for name in where) or "true"
        shown, schema = ", ".join(map(quoted_name, columns)), _columns_of(table, columns)

        def ask(connection: duckdb.DuckDBPyConnection, alike: bool) -> pa.Table:
            files = [self._files[table][path.name] for path in self._source.parts(table, filters)]
            if not files:
                return schema.empty_table()
            sql = f"SELECT {shown} FROM ({_selection(table, files, alike)}) WHERE {asked}"
            # No cast to what can be held, as statements need it: these are a table's own columns.
            return _bounded(connection.sql(sql, params=list(where.values()) or None)).cast(schema)

        with _in_our_words(table):
            return self._asked(ask)

    def _asked(self, ask: Callable[[duckdb.DuckDBPyConnection, bool], pa.Table]) -> pa.Table:
        """What ``ask`` returns, told whether all parts of a table are taken to have the same columns."""
        with self._lock:
            try:
                return ask(self._up_to_date(alike=True), True)
            except (duckdb.BinderException, duckdb.InvalidInputException):
                self._close()
                return ask(self._up_to_date(alike=False), False)

    def _up_to_date(self, alike: bool) -> duckdb.DuckDBPyConnection:
        parts_now = [(path, stamp_of(path)) for table in self._tables for path in self._source.parts(table)]
        if self._connection is None or parts_now != self._opened:
            self._close()
            self._connection, self._opened = self._connected(alike), parts_now
        return self._connection

    def _connected(self, alike: bool) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        self._open.callback(connection.close)
        connection.execute("SET parquet_metadata_cache = true")  # a few megabytes of footers
        files = self._open.enter_context(_plain_paths(self._source, self._tables))
        self._files = {table: {Path(path).name: path for path in paths} for table, paths in files.items()}
        _open(connection, files, alike)
        return connection

    def _close(self) -> None:
        self._open.close()
        self._connection = None

    def close(self) -> None:
        """Give back what is held; the next statement opens the tables again."""
        with self._lock:
            self._close()


@dataclass
class Source:
    """The folder that is asked, and who is told which of its tables are not checked."""

    root: Path
    notice: Callable[[str], None]
    known: KnownParts | None = None
    told: set[str] = field(default_factory=set)

    def parts(self, table: str, filters: Filters | None = None) -> list[Path]:
        """A table's parts that may hold such rows, compared with their digests.

        Raises ``StorageError`` for a damaged one.
        """
        known = self.known or KnownParts(self.root)
        named = known.named(table, filters)
        size = sum(path.stat().st_size for path in named if path.exists())
        if size <= CHECKED_BYTES:
            return checked_parts(self.root, table, filters, known)
        if table not in self.told:
            self.told.add(table)
            self.notice(
                f"table {table} is too large ({size / 2**30:.0f} GiB) to be compared with its digests before each "
                "query: `concepts verify` does that"
            )
        return list(named)


def _answer(source: Source, sql: str, text: bool) -> pa.Table:
    """With views of the tables that the statement names, for each view opens a file, and then of all if one is missing.

    A table's name can be put together within the statement, and for a misspelt one DuckDB suggests what it knows.
    Parts of one table are taken to have the same columns, which saves opening all of them first, until that fails.
    """
    named = _named_tables(sql)
    try:
        return _run(source, sql, named, text, alike=True)
    except duckdb.CatalogException:
        return _run(source, sql, list(SCHEMAS), text, alike=False)
    except (duckdb.BinderException, duckdb.InvalidInputException):
        return _run(source, sql, named, text, alike=False)


def _named_tables(sql: str) -> list[str]:
    """The tables whose names are words of the statement, or that a view there is of.

    All where it asks what there is.
    """
    words = set(re.findall(r"\w+", sql.lower()))
    words |= {table for name, view in VIEWS.items() if name in words for table in view.of}
    named = [table for table in SCHEMAS if table in words]
    listing = CATALOGUE.search(sql) or (not named and words & {"describe", "desc"})
    return list(SCHEMAS) if listing else named


def _run(source: Source, sql: str, tables: list[str], text: bool, alike: bool) -> pa.Table:
    connection = duckdb.connect()
    try:
        refuse_unless_reading(connection, sql)
        with _plain_paths(source, tables) as files:
            _open(connection, files, alike)
            return _interruptible(connection, lambda: _rows(connection, sql, text))
    finally:
        connection.close()


def _interruptible(connection: duckdb.DuckDBPyConnection, work: Callable[[], pa.Table]) -> pa.Table:
    """What ``work`` returns. DuckDB does not listen to Ctrl-C in every phase of a query, so another thread runs it."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(work)
        try:
            return answer.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, text: bool, values: Sequence[Any] = ()) -> pa.Table:
    relation = connection.sql(sql, params=list(values) or None)
    if relation is None:
        raise StorageError(f"the statement returns no rows: {ALLOWED}")
    return with_numbers(_bounded(shaped(relation, text)), relation.types)


@contextmanager
def _plain_paths(source: Source, tables: list[str]) -> Iterator[dict[str, list[str]]]:
    """Table -> the paths of its parts, none of which DuckDB could take for a pattern of names."""
    files = {table: source.parts(table) for table in tables}
    if glob.escape(str(source.root)) == str(source.root) and _has_bytes(str(source.root)):
        yield {table: [str(path) for path in paths] for table, paths in files.items()}
        return
    with tempfile.TemporaryDirectory(prefix="concepts-query-") as place:
        for table, paths in files.items():
            if paths:
                Path(place, table).symlink_to(table_folder(source.root, table))
        yield {table: [str(Path(place, table, path.name)) for path in paths] for table, paths in files.items()}


def _open(connection: duckdb.DuckDBPyConnection, files: dict[str, list[str]], alike: bool) -> None:
    """Make the views, and lock everything else."""
    allowed = ", ".join(quoted_text(path) for paths in files.values() for path in paths)
    for name, value in SETTINGS.items():
        connection.execute(f"SET {name} = {value}")
    number, unit = connection.sql("SELECT current_setting('memory_limit')").fetchall()[0][0].split()
    connection.execute(f"SET memory_limit = '{float(number) / 2}{unit}'")  # Python holds the answer beside it
    connection.execute(MACRO)
    connection.execute(f"SET allowed_paths = [{allowed}]")
    connection.execute("SET enable_external_access = false")
    for table, paths in files.items():
        _add_view(connection, table, paths, alike)
    for name, view in VIEWS.items():
        if set(view.of) <= set(files):
            connection.execute(f"CREATE VIEW {quoted_name(name)} AS {view.sql}")
    connection.execute("SET lock_configuration = true")


def _add_view(connection: duckdb.DuckDBPyConnection, table: str, files: list[str], alike: bool) -> None:
    """A lazily read view of the schema's columns; of a table without parts an empty one, which can be asked as well."""
    if not (files and alike):
        connection.register(f"_{table}", SCHEMAS[table].empty_table())
    connection.execute(f"CREATE VIEW {quoted_name(table)} AS {_selection(table, files, alike)}")


def _selection(table: str, files: list[str], alike: bool) -> str:
    """What reads the schema's columns of a table's parts, in SQL; and of its empty table, named with a ``_`` before it.

    Unless they are ``alike``, parts of an older version may lack columns: those are NULL. The folder's path says
    nothing about the rows, even where it has the form ``key=value``.
    """
    listed = ", ".join(map(quoted_text, files))
    sources = [f"FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = {not alike})"] * bool(files)
    if not (files and alike):
        sources.insert(0, f"FROM {quoted_name(f'_{table}')}")
    columns = ", ".join(map(quoted_name, SCHEMAS[table].names))
    return f"SELECT {columns} FROM ({' UNION ALL BY NAME '.join(sources)})"


def _columns_of(table: str, columns: Sequence[str]) -> pa.Schema:
    """Their types. Raises ``StorageError`` for one that the table lacks."""
    known = SCHEMAS[table]
    if odd := [name for name in columns if name not in known.names]:
        raise StorageError(f"table {table} has no column {odd[0]!r}: it has {', '.join(known.names)}")
    return pa.schema([(name, known.field(name).type) for name in columns])


def _bounded(relation: duckdb.DuckDBPyRelation) -> pa.Table:
    """The relation's rows. Raises ``StorageError`` when they outgrow what is held."""
    reader = relation.fetch_record_batch(ROWS_AT_ONCE)
    batches, size = [], 0
    for batch in _streamed(reader):
        batches.append(batch)
        size += batch.nbytes
        if size > ANSWER_BYTES:
            raise StorageError(
                f"the answer is larger than {ANSWER_BYTES / 2**30:.0f} GiB: ask for fewer rows or columns, or in pieces"
            )
    return pa.Table.from_batches(batches, schema=reader.schema)


def _streamed(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """The reader's batches. Raises the error of DuckDB's that ended the query, which Arrow hands on as one of its own.

    Which of the two comes is a matter of luck: the first rows may be there before a thread has met the fault.
    """
    try:
        yield from reader
    except (OSError, pa.ArrowException) as error:
        failure = duckdb.OutOfMemoryException if "Out of Memory Error" in str(error) else duckdb.InvalidInputException
        raise failure(str(error)) from error
