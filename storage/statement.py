"""What a query may say: one statement that reads the study's tables, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from storage.errors import StorageError

ALLOWED = (
    "a query is one statement that reads the study's tables: SELECT, FROM, WITH, VALUES, PIVOT, DESCRIBE, SHOW, "
    "SUMMARIZE, or EXPLAIN and one of them"
)
READING_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
# Functions that may stand after FROM: they make rows or say what there is. Those left out open files, run another
# statement out of a string, or change how DuckDB works, which locked settings do not stop in every version.
ROW_FUNCTIONS = {
    "generate_series", "histogram", "histogram_values", "icu_calendar_names", "json_each", "json_tree",
    "pg_timezone_names", "pragma_collations", "pragma_table_info", "pragma_version", "query_table", "range", "repeat",
    "repeat_row", "summary", "test_all_types", "test_vector_types", "unnest",
}  # fmt: skip
CATALOGUE_FUNCTIONS = re.compile(r"duckdb_(columns|constraints|functions|keywords|settings|tables|types|views)")
# Words of a PIVOT, which DuckDB's parser does not take apart for us, that could make it write.
WRITES = {"alter", "attach", "call", "copy", "create", "delete", "drop", "export", "insert", "install", "load", "merge"}
WRITES |= {"pragma", "set", "truncate", "update"}
COMMENT = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)"
EXPLAIN = re.compile(
    rf"{COMMENT}*explain\b{COMMENT}*(?:analyze\b|\({COMMENT}*(?:analyze|format)\b[^()]*\))?(.*)", re.I | re.S
)


def refuse_unless_reading(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raise ``StorageError`` unless ``sql`` is exactly one statement that reads. Nothing of it is run.

    DuckDB's own parser says what the statement is and, in its JSON form, whether a part of it writes (a common table
    expression can) or which functions give it rows.
    """
    try:
        statements = connection.extract_statements(sql)
    except (duckdb.NotImplementedException, duckdb.IOException) as error:
        # In older versions, of a common table expression that writes, and of IMPORT, whose script it looks for.
        raise StorageError(f"the statement is not for a query: {ALLOWED}") from error
    if not statements:
        raise StorageError(f"the query says nothing: {ALLOWED}")
    kinds = [statement.type.name for statement in statements]
    if len(kinds) > 1:
        hint = ", its columns named by IN where it is PIVOT" if kinds == ["CREATE", "SELECT"] else ""  # DuckDB 1.x
        raise StorageError(f"the query holds {len(kinds)} statements: {ALLOWED}{hint}")
    if kinds == ["EXPLAIN"]:
        _check_explained(connection, sql)
    elif kinds == ["MULTI"]:
        _check_pivot(connection, sql, statements[0].query)
    elif kinds == ["SELECT"]:
        _check_tree(connection, sql)
    else:
        raise StorageError(f"{kinds[0].replace('_', ' ')} is not for a query: {ALLOWED}")


def _check_explained(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """EXPLAIN ANALYZE runs what it explains."""
    match = EXPLAIN.match(sql)
    if match is None:
        raise StorageError(f"this EXPLAIN is not understood: {ALLOWED}")
    refuse_unless_reading(connection, match[1])


def _check_pivot(connection: duckdb.DuckDBPyConnection, sql: str, statement: str) -> None:
    """A PIVOT whose columns come from the data is several statements to DuckDB; so is any other around such a PIVOT."""
    try:
        connection.extract_statements(f"FROM (\n{statement.rstrip().rstrip(';')}\n)")
    except duckdb.Error:
        raise StorageError(f"PIVOT may only be read: {ALLOWED}") from None
    words = set(re.findall(r"\w+", sql.lower()))
    rows = connection.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'table'")
    unfit = words & (WRITES | {name for (name,) in rows.fetchall() if not _may_give_rows(name)})
    if unfit:
        raise StorageError(f"a PIVOT cannot hold the word {min(unfit)!r}: {ALLOWED}")


def _check_tree(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    (text,) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone() or ("{}",)
    tree = json.loads(text)
    if tree.get("error", True):
        raise StorageError(f"the statement is not for a query ({tree.get('error_message')}): {ALLOWED}")
    for node in _nodes(tree):
        kind = str(node.get("type"))
        if kind.endswith("_NODE") and kind not in READING_NODES:
            raise StorageError(f"{kind.split('_')[0]} is not for a query: {ALLOWED}")
        if kind == "TABLE_FUNCTION" and not _may_give_rows(function := node["function"]["function_name"]):
            raise StorageError(f"{function}() is not for a query: {ALLOWED}, and no other files")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document; a long statement nests deeper than Python recurses."""
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _may_give_rows(function: str) -> bool:
    name = function.lower()
    return name in ROW_FUNCTIONS or CATALOGUE_FUNCTIONS.fullmatch(name) is not None
