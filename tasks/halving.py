"""When edits stop to work: ``temporal_atlas`` in, ``temporal_onsets`` out."""

from __future__ import annotations

from typing import Any

from concepts.onset_table import onset_rows
from storage.tables import read_table
from study.publish import publish
from study.study import Study
from study.units import ONSETS_UNIT


def run_tau50(study: Study) -> dict[str, Any]:
    """Write ``temporal_onsets`` from ``temporal_atlas``."""
    columns = ["kind", "target", "length", "onset", "control", "prompt_id", "success"]
    edited = read_table(study.root, "temporal_atlas", columns).to_pylist()
    rows = onset_rows(edited, study.config.interventions.bootstrap, study.config.seed)
    publish(study, "tau50", ONSETS_UNIT, {"temporal_onsets": rows})
    return {"rows": len(rows)}
