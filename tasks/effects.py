"""Summing up what the edits did: ``interventions`` in, ``intervention_effects`` out."""

from __future__ import annotations

from typing import Any

from concepts.effect_table import COLUMNS, effect_rows
from storage.tables import read_table
from study.publish import publish
from study.study import Study
from study.units import EFFECTS_UNIT

STAGE = "effects"


def summarise_effects(study: Study) -> dict[str, Any]:
    """Write ``intervention_effects`` from ``interventions``."""
    edited = read_table(study.root, "interventions", COLUMNS).to_pylist()
    rows = effect_rows(edited, study.config.interventions.bootstrap, study.config.seed)
    publish(study, STAGE, EFFECTS_UNIT, {"intervention_effects": rows})
    return {"rows": len(rows)}
