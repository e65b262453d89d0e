"""SQL over a study's tables, by DuckDB: each table is a view of its own name."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.schemas import SCHEMAS
from storage.study import read_study
from storage.tables import checked_parts

FORMATS = ("table", "csv", "json", "parquet")
CATALOGUE = re.compile(r"\b(show|pragma|information_schema|(duckdb|pragma|sqlite|pg)_\w+)\b", re.I)  # list the tables


def query(root: str | Path, sql: str) -> pa.Table:
    """Run one SQL statement; raises ``StorageError`` with DuckDB's own words if it fails."""
    read_study(root)
    connection = duckdb.connect()
    try:
        folder = Path(root).resolve()
        connection.execute(f"SET allowed_directories=[{_quoted(str(folder))}]")
        connection.execute("SET enable_external_access=false")
        result = _run(connection, folder, sql)
        if result is None:
            raise StorageError("the statement returned no rows: ask with SELECT (the tables are read-only)")
        return result.to_arrow_table()
    except duckdb.Error as error:
        raise StorageError(f"the query failed: {' '.join(str(error).split())}") from error
    finally:
        connection.close()


def _run(connection: duckdb.DuckDBPyConnection, root: Path, sql: str) -> duckdb.DuckDBPyRelation | None:
    """With views of the tables that the statement names, for each view opens a file, and then of all if one is missing.

    A table's name can be put together within the statement, and for a misspelt one DuckDB suggests what it knows.
    """
    named = _named_tables(sql)
    for table in named:
        _add_view(connection, root, table)
    try:
        return connection.sql(sql)
    except duckdb.CatalogException:
        for table in SCHEMAS.keys() - set(named):
            _add_view(connection, root, table)
        return connection.sql(sql)


def _named_tables(sql: str) -> list[str]:
    """The tables whose names are words of the statement; all where it names none, or asks what there is."""
    words = set(re.findall(r"\w+", sql.lower()))
    named = [table for table in SCHEMAS if table in words]
    return list(SCHEMAS) if not named or CATALOGUE.search(sql) else named


def _add_view(connection: duckdb.DuckDBPyConnection, root: Path, table: str) -> None:
    """A lazily read view; a table without parts is an empty one, so that a query on it works from the start."""
    files = [str(f) for f in checked_parts(root, table)]
    if files:
        listed = ", ".join(_quoted(f) for f in files)
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{listed}])')
    else:
        connection.register(f"_{table}", SCHEMAS[table].empty_table())
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM "_{table}"')


def _quoted(text: str) -> str:
    """As a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def render(table: pa.Table, form: str) -> bytes:
    """The result as bytes: an aligned text table, CSV, JSON (a list of rows) or Parquet."""
    if form == "parquet":
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()
    if form == "csv":
        flat = pa.table({n: _csv_column(table[n]) for n in table.column_names})
        sink = io.BytesIO()
        pacsv.write_csv(flat, sink)
        return sink.getvalue()
    if form == "json":
        return (json.dumps(table.to_pylist(), default=str, indent=1) + "\n").encode()
    if form == "table":
        return _text_table(table).encode()
    raise StorageError(f"unknown format {form!r}: choose one of {', '.join(FORMATS)}")


def _csv_column(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    """CSV has no lists: they become JSON text."""
    if pa.types.is_nested(column.type):
        return pa.array([None if v is None else json.dumps(v) for v in column.to_pylist()], pa.string())
    return column


def _text_table(table: pa.Table) -> str:
    names = table.column_names
    rows = [[_cell(v) for v in row.values()] for row in table.to_pylist()]
    widths = [max([len(n), *(len(r[i]) for r in rows)]) for i, n in enumerate(names)]
    numeric = [pa.types.is_floating(f.type) or pa.types.is_integer(f.type) for f in table.schema]
    lines = ["  ".join(n.ljust(w) for n, w in zip(names, widths, strict=True))]
    lines.append("  ".join("-" * w for w in widths))
    for row in rows:
        cells = [c.rjust(w) if num else c.ljust(w) for c, w, num in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _cell(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
