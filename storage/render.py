"""An answer as bytes: an aligned text table, CSV, JSON or Parquet. Every type has a form in each.

What a column of each DuckDB type becomes is in docs/queries.md.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.text import cut, padded, printable, width

FORMATS = ("table", "csv", "json", "parquet")
TEXT_FORMATS = FORMATS[:3]
CELL = 60  # columns of the widest cell in a text table
ROWS_AT_ONCE = 4096

Convert = Callable[[Any], Any]


def render(table: pa.Table, form: str) -> bytes:
    """The whole answer in one of ``FORMATS``. Raises ``StorageError`` for another."""
    return b"".join(rendered(table, form))


def rendered(table: pa.Table, form: str) -> Iterator[bytes]:
    """``render`` piece by piece, so that a large answer is not held as text, too."""
    writers = {"table": _text_table, "csv": _csv, "json": _json, "parquet": _parquet}
    if form not in writers:
        raise StorageError(f"unknown format {form!r}: choose one of {', '.join(FORMATS)}")
    return writers[form](table)


def _parquet(table: pa.Table) -> Iterator[bytes]:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    yield buffer.getvalue()


def _csv(table: pa.Table) -> Iterator[bytes]:
    """NULL is an empty field, an empty text two quotes."""
    converters = [_jsonable(column) for column in table.columns]
    for first, batch in _batches(table):
        columns = [_csv_column(c, convert) for c, convert in zip(batch.columns, converters, strict=True)]
        sink = io.BytesIO()
        flat = pa.Table.from_arrays(columns, names=table.column_names)
        pacsv.write_csv(flat, sink, pacsv.WriteOptions(include_header=first))
        yield sink.getvalue()


def _csv_column(column: pa.ChunkedArray, convert: Convert) -> pa.ChunkedArray | pa.Array:
    """Numbers, booleans and text as they are, everything else as text: lists and structs as JSON."""
    dtype = column.type
    if any(is_type(dtype) for is_type in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, _is_text)):
        return column
    values = map(_decimal_text if pa.types.is_decimal(dtype) else convert, column.to_pylist())
    return pa.array([None if v is None else v if isinstance(v, str) else _json_text(v) for v in values], pa.string())


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _decimal_text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"


def _json(table: pa.Table) -> Iterator[bytes]:
    """A list of rows, each an object."""
    converters = dict(zip(table.column_names, map(_jsonable, table.columns), strict=True))
    if not table.num_rows:
        yield b"[]\n"
        return
    for first, batch in _batches(table):
        rows = [{name: converters[name](v) for name, v in row.items()} for row in batch.to_pylist()]
        yield (("[\n" if first else ",\n") + json.dumps(rows, indent=1, allow_nan=False)[2:-2]).encode()
    yield b"\n]\n"


def _batches(table: pa.Table) -> Iterator[tuple[bool, pa.Table]]:
    """(Whether it is the first, some rows) through all rows; one without rows if there are none."""
    for start in range(0, max(table.num_rows, 1), ROWS_AT_ONCE):
        yield start == 0, table.slice(start, ROWS_AT_ONCE)


def _jsonable(column: pa.ChunkedArray) -> Convert:
    """What turns a value of the column, as Python has it, into one that JSON has."""
    convert = _of_type(column.type, _number)
    if _has_decimal(column.type):
        # A decimal is a number unless the column holds one of more digits than a number keeps: then all are text.
        try:
            for value in column.to_pylist():
                convert(value)
        except OverflowError:
            return _of_type(column.type, _decimal_text)
    return convert


def _has_decimal(dtype: pa.DataType) -> bool:
    inner = (dtype.field(i).type for i in range(dtype.num_fields))
    return bool(pa.types.is_decimal(dtype)) or any(map(_has_decimal, inner))


def _of_type(dtype: pa.DataType, decimal: Convert) -> Convert:
    if pa.types.is_map(dtype):
        key, item = _of_type(dtype.key_type, decimal), _of_type(dtype.item_type, decimal)
        return _unless_null(lambda pairs: {_key(key(k)): item(v) for k, v in pairs})
    if pa.types.is_struct(dtype):
        fields = {f.name: _of_type(f.type, decimal) for f in dtype}
        return _unless_null(lambda row: {name: convert(row[name]) for name, convert in fields.items()})
    if pa.types.is_nested(dtype):
        one = _of_type(dtype.value_type, decimal)
        return _unless_null(lambda values: [one(v) for v in values])
    if pa.types.is_floating(dtype):
        return _unless_null(_float)
    if pa.types.is_decimal(dtype):
        return _unless_null(decimal)
    if pa.types.is_binary(dtype) or pa.types.is_large_binary(dtype):
        return _unless_null(lambda data: base64.b64encode(data).decode())
    if pa.types.is_integer(dtype) or pa.types.is_boolean(dtype):
        return lambda value: value
    return _unless_null(str)


def _unless_null(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _float(value: float) -> float | str:
    """JSON has neither NaN nor infinities: their names as text, which ``float`` and JavaScript's ``Number`` read."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _number(value: Decimal) -> int | float:
    """Raises ``OverflowError`` where a number would change the digits."""
    whole = value.as_tuple().exponent == 0
    if whole and -(2**63) <= value < 2**63:
        return int(value)
    if whole or Decimal(repr(float(value))) != value:
        raise OverflowError(value)
    return float(value)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else _json_text(value)


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _text_table(table: pa.Table) -> Iterator[bytes]:
    names = [printable(name) for name in table.column_names]
    columns = [_cells(column) for column in table.columns]
    widths = [max([width(n), *map(width, cells)]) for n, cells in zip(names, columns, strict=True)]
    right = [_is_number(field.type) for field in table.schema]
    yield _line(padded(n, w) for n, w in zip(names, widths, strict=True))
    yield _line("-" * w for w in widths)
    for row in zip(*columns, strict=True):
        yield _line(padded(c, w, r) for c, w, r in zip(row, widths, right, strict=True))


def _line(cells: Iterator[str]) -> bytes:
    return ("  ".join(cells).rstrip() + "\n").encode()


def _is_number(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_floating(dtype) or pa.types.is_integer(dtype) or pa.types.is_decimal(dtype))


def _cells(column: pa.ChunkedArray) -> list[str]:
    convert = _jsonable(column)
    return [_cell(value, convert) for value in column.to_pylist()]


def _cell(value: Any, convert: Convert) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return cut(printable(_json_text(convert(value)) if isinstance(value, list | dict) else str(value)), CELL)
