"""Rows of a table from arrays: what labelling writes is too long for a dictionary a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from storage.schemas import SCHEMAS


def as_table(table: str, columns: Mapping[str, Any], constants: Mapping[str, Any] | None = None) -> pa.Table:
    """An Arrow table of ``table``'s schema from columns of one length and values that all rows share; NaN is null."""
    schema = SCHEMAS[table]
    rows = len(next(iter(columns.values())))
    given = {**columns, **{name: [value] * rows for name, value in (constants or {}).items()}}
    arrays = [_array(given[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _array(values: Sequence[Any] | np.ndarray, kind: pa.DataType) -> pa.Array:
    if isinstance(values, np.ndarray) and values.ndim == 1 and pa.types.is_floating(kind):
        return pa.array(values, kind, from_pandas=True)
    return pa.array(values if isinstance(values, np.ndarray) and values.ndim == 1 else list(values), kind)
