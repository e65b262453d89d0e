"""SQL over a study's tables, by DuckDB: each table is a view of its own name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.schemas import SCHEMAS
from storage.study import read_study
from storage.tables import parts

FORMATS = ("table", "csv", "json", "parquet")


def query(root: str | Path, sql: str) -> pa.Table:
    """Run one SQL statement; raises ``StorageError`` with DuckDB's own words if it fails."""
    read_study(root)
    connection = duckdb.connect()
    try:
        for table, schema in SCHEMAS.items():
            _add_view(connection, Path(root), table, schema)
        connection.execute("SET enable_external_access=false")
        result = connection.sql(sql)
        if result is None:
            raise StorageError("the statement returned no rows: ask with SELECT (the tables are read-only)")
        return result.to_arrow_table()
    except duckdb.Error as error:
        raise StorageError(f"the query failed: {' '.join(str(error).split())}") from error
    finally:
        connection.close()


def _add_view(connection: duckdb.DuckDBPyConnection, root: Path, table: str, schema: pa.Schema) -> None:
    """A lazily read view; a table without parts is an empty one, so that a query on it works from the start."""
    files = [str(f) for f in parts(root, table)]
    if files:
        listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
        connection.execute(f"SET allowed_directories=['{str(root.resolve()).replace(chr(39), chr(39) * 2)}']")
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM read_parquet([{listed}])')
    else:
        connection.register(f"_{table}", schema.empty_table())
        connection.execute(f'CREATE VIEW "{table}" AS SELECT * FROM "_{table}"')


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
