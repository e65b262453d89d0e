"""What the edits did, in one row for each kind, window and control: rates, and differences to the random direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.effects import cluster_interval
from storage.tables import read_table
from tasks.edits import RANDOM
from tasks.parts import publish
from tasks.plans import EFFECTS_UNIT
from tasks.study import Study

STAGE = "effects"
COLUMNS = ["prompt_id", "kind", "window", "target", "region", "control", "strength", "success", "effect"]


def summarise_effects(study: Study) -> dict[str, Any]:
    """Write ``intervention_effects`` from ``interventions``."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in read_table(study.root, "interventions", COLUMNS).to_pylist():
        groups.setdefault((row["kind"], row["window"], row["control"]), []).append(row)
    rows = [_effect_row(study, key, found, groups.get((*key[:2], RANDOM), [])) for key, found in groups.items()]
    publish(study, STAGE, EFFECTS_UNIT, {"intervention_effects": rows})
    return {"rows": len(rows)}


def _effect_row(
    study: Study, key: tuple[str, str, str], rows: list[dict[str, Any]], random: list[dict[str, Any]]
) -> dict[str, Any]:
    """Cases of one prompt are not independent (four regions of one image): intervals resample prompts."""
    of_random = {_case(row): row["success"] for row in random}
    paired = [row for row in rows if _case(row) in of_random and key[2] != RANDOM]
    difference = [float(row["success"]) - float(of_random[_case(row)]) for row in paired]
    low, high = _interval(study, [float(row["success"]) for row in rows], rows, (0.0, 1.0))
    difference_low, difference_high = _interval(study, difference, paired, (-1.0, 1.0))
    return {
        "kind": key[0],
        "window": key[1],
        "control": key[2],
        "strength": rows[0]["strength"],
        "success": float(np.mean([row["success"] for row in rows])),
        "success_ci_low": low,
        "success_ci_high": high,
        "above_random": float(np.mean(difference)) if difference else None,
        "above_random_ci_low": difference_low,
        "above_random_ci_high": difference_high,
        "effect": float(np.mean([row["effect"] for row in rows])),
        "n": len(rows),
        "n_prompts": len({row["prompt_id"] for row in rows}),
    }


def _case(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["prompt_id"], row["target"], row["region"]


def _interval(
    study: Study, values: list[float], rows: list[dict[str, Any]], bounds: tuple[float, float]
) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    prompts = [row["prompt_id"] for row in rows]
    samples = study.config.interventions.bootstrap
    return cluster_interval(np.array(values), prompts, samples, study.config.seed, bounds)
