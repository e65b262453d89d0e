"""Summing up what the edits did: ``interventions`` in, ``intervention_effects`` out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from concepts.effect_table import COLUMNS, effect_rows
from storage.tables import read_table
from study.publish import publish
from study.study import Study
from study.units import EFFECTS_UNIT

STAGE = "effects"


def summarise_effects(study: Study) -> dict[str, Any]:
    """Write ``intervention_effects`` from ``interventions``."""
    table = read_table(study.root, "interventions", COLUMNS)
    edited = table.drop(["features"]).to_pylist()
    for row, features in zip(edited, _features(table), strict=True):
        row["features"] = features
    rows = effect_rows(edited, study.config.interventions.bootstrap, study.config.seed)
    publish(study, STAGE, EFFECTS_UNIT, {"intervention_effects": rows})
    return {"rows": len(rows)}


def _features(table: pa.Table) -> list[np.ndarray | None]:
    """Views of one array: as lists of Python's floats the features of a large study would take gigabytes."""
    column = table["features"].combine_chunks()
    flat, ends = column.values.to_numpy(), column.offsets.to_numpy()
    return [flat[ends[i] : ends[i + 1]] if known else None for i, known in enumerate(column.is_valid().to_pylist())]
