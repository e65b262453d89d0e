"""Columns of every DuckDB type in a type that Arrow, Parquet and the text formats hold without loss.

Arrow's own conversion is silent where it loses: intervals overflow, times lose their zone, 128-bit integers their
sign, infinite dates cannot be read back. So what has no equal there becomes text in DuckDB, before Arrow sees it.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

PLAIN = {
    "boolean", "tinyint", "smallint", "integer", "bigint", "utinyint", "usmallint", "uinteger", "ubigint", "float",
    "double", "decimal", "varchar", "blob",
}  # fmt: skip
TIMES = {
    "date", "time", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone",
}  # fmt: skip
WIDE = {"hugeint", "uhugeint"}
# DuckDB keeps months, days and microseconds apart, as ISO 8601 does; each part has its own sign.
MACRO = """
CREATE MACRO iso_interval(i) AS CASE WHEN i IS NOT NULL THEN coalesce(nullif(concat(
  'P',
  nullif(datepart('year', i), 0) || 'Y',
  nullif(datepart('month', i), 0) || 'M',
  nullif(datepart('day', i), 0) || 'D',
  CASE WHEN datepart('hour', i) <> 0 OR datepart('minute', i) <> 0 OR datepart('microsecond', i) <> 0 THEN 'T' END,
  nullif(datepart('hour', i), 0) || 'H',
  nullif(datepart('minute', i), 0) || 'M',
  CASE WHEN datepart('microsecond', i) <> 0
    THEN rtrim(rtrim(printf('%.6f', datepart('microsecond', i) / 1e6), '0'), '.') || 'S' END
), 'P'), 'PT0S') END"""


def shaped(relation: duckdb.DuckDBPyRelation, text: bool) -> duckdb.DuckDBPyRelation:
    """The relation with columns of such types and distinct names; with ``text`` dates and times are text, too.

    Needs ``MACRO`` in the relation's connection.
    """
    dtypes, names = relation.types, distinct(relation.columns)
    numbered = relation.project(
        ", ".join(f"#{i + 1} AS c{i}" for i in range(len(dtypes)))
    )  # of equal names one is lost
    columns = (_cast(f"c{i}", dtype, text, 0) for i, dtype in enumerate(dtypes))
    return numbered.project(", ".join(f"{c} AS {quoted_name(n)}" for c, n in zip(columns, names, strict=True)))


def distinct(names: list[str]) -> list[str]:
    """The names with ``_1``, ``_2`` ... behind those that were there before: x, x becomes x, x_1."""
    distinct_names: list[str] = []
    for name in names:
        candidates = (name, *(f"{name}_{i}" for i in range(1, len(names) + 1)))
        distinct_names.append(next(c for c in candidates if c not in distinct_names and (c == name or c not in names)))
    return distinct_names


def quoted_text(text: str) -> str:
    """As a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """As an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _cast(value: str, dtype: Any, text: bool, depth: int) -> str:
    """SQL for ``value``, itself SQL, of DuckDB's type ``dtype``, in a type that can be held: ``value`` if it is one."""
    if dtype.id in PLAIN or (dtype.id in TIMES and not text):
        return f"CAST({value} AS VARCHAR)" if str(dtype) == "JSON" else value
    if dtype.id == "null":
        return f"CAST({value} AS INTEGER)"
    if dtype.id == "interval":
        return f"iso_interval({value})"
    if dtype.id in ("list", "array"):
        return _list(value, dtype, text, depth)
    if dtype.id == "map":
        return _map(value, dict(dtype.children), text, depth)
    if dtype.id in ("struct", "tuple") and dtype.children:
        return _struct(value, dtype.children, text, depth)
    return f"CAST({value} AS VARCHAR)"


def _list(value: str, dtype: Any, text: bool, depth: int) -> str:
    one = f"x{depth}"
    made = _cast(one, dict(dtype.children)["child"], text, depth + 1)
    return value if made == one and dtype.id == "list" else f"list_transform({value}, lambda {one}: {made})"


def _map(value: str, dtypes: dict[str, Any], text: bool, depth: int) -> str:
    one = f"x{depth}"
    key, item = (_cast(f"{one}.{name}", dtypes[name], text, depth + 1) for name in ("key", "value"))
    if (key, item) == (f"{one}.key", f"{one}.value"):
        return value
    return f"map_from_entries(list_transform(map_entries({value}), lambda {one}: struct_pack(k := {key}, v := {item})))"


def _struct(value: str, children: list[tuple[str, Any]], text: bool, depth: int) -> str:
    """Field by field; those of ``row(...)``, which have no names, are called element1, element2 ..."""
    got = [f"struct_extract({value}, {quoted_text(name) if name else i})" for i, (name, _) in enumerate(children, 1)]
    made = [_cast(g, dtype, text, depth) for g, (_, dtype) in zip(got, children, strict=True)]
    if made == got and all(name for name, _ in children):
        return value
    names = [quoted_name(name or f"element{i}") for i, (name, _) in enumerate(children, 1)]
    fields = ", ".join(f"{name} := {one}" for name, one in zip(names, made, strict=True))
    return f"CASE WHEN {value} IS NOT NULL THEN struct_pack({fields}) END"


def with_numbers(table: pa.Table, dtypes: list[Any]) -> pa.Table:
    """The answer with 128-bit integers, which come as text, as BIGINT in every column where all of them fit.

    A sum of counts is such an integer, of any size in principle.
    """
    for i, dtype in enumerate(dtypes):
        field = table.schema.field(i)
        wanted = _narrowed(dtype, field.type)
        if wanted != field.type:
            try:
                table = table.set_column(i, field.with_type(wanted), table.column(i).cast(wanted))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue  # one of them does not fit: the column stays as it came
    return table


def _narrowed(dtype: Any, arrow: pa.DataType) -> pa.DataType:
    if dtype.id in WIDE:
        return pa.int64()
    if dtype.id in ("list", "array"):
        return pa.list_(arrow.value_field.with_type(_narrowed(dict(dtype.children)["child"], arrow.value_type)))
    if dtype.id == "map":
        dtypes = dict(dtype.children)
        return pa.map_(_narrowed(dtypes["key"], arrow.key_type), _narrowed(dtypes["value"], arrow.item_type))
    if dtype.id in ("struct", "tuple") and dtype.children:
        children = [child for _, child in dtype.children]
        return pa.struct([f.with_type(_narrowed(c, f.type)) for f, c in zip(arrow, children, strict=True)])
    return arrow
