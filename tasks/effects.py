"""What the edits did, for each kind, window and control: rates, and differences to the random direction.

Each group is summed up over all its targets and for each apart, and twice: over all cases, and over those that the
unedited image does not fulfil. A quarter of all spatial cases succeed untouched, since the object is in one of the four
quadrants: only where it lies elsewhere does success say that the edit moved it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from concepts.effects import cluster_interval
from storage.tables import read_table
from tasks.edits import RANDOM, UNEDITED
from tasks.parts import publish
from tasks.plans import EFFECTS_UNIT
from tasks.study import Study

STAGE = "effects"
ALL = "*"  # of the targets
NEW = "new"  # cases that the unedited image does not fulfil
COLUMNS = ["prompt_id", "kind", "window", "target", "region", "control", "strength", "success", "effect"]
COLUMNS += ["outside_change", "objects_kept"]
Rows = list[dict[str, Any]]


class Group(NamedTuple):
    """Columns that tell the rows of ``intervention_effects`` apart."""

    kind: str
    window: str
    control: str
    target: str
    cases: str


def summarise_effects(study: Study) -> dict[str, Any]:
    """Write ``intervention_effects`` from ``interventions``."""
    found = read_table(study.root, "interventions", COLUMNS).to_pylist()
    groups = dict(_groups(found))
    rows = [
        _effect_row(study, key, of_group, groups.get(key._replace(control=RANDOM), []))
        for key, of_group in groups.items()
    ]
    publish(study, STAGE, EFFECTS_UNIT, {"intervention_effects": rows})
    return {"rows": len(rows)}


def _groups(rows: Rows) -> Iterator[tuple[Group, Rows]]:
    """Every group that has a row; the unedited images succeed in none of the new cases, by their definition."""
    fulfilled = {(row["window"], case_of(row)) for row in rows if row["control"] == UNEDITED and row["success"]}
    found: dict[Group, Rows] = {}
    for row in rows:
        new = (row["window"], case_of(row)) not in fulfilled and row["control"] != UNEDITED
        for cases in ("all", NEW) if new else ("all",):
            for target in (ALL, row["target"]):
                key = Group(row["kind"], row["window"], row["control"], target, cases)
                found.setdefault(key, []).append(row)
    yield from found.items()


def case_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What rows of one window under different controls have in common if they are of one case."""
    return row["kind"], row["prompt_id"], row["target"], row["region"]


def _effect_row(study: Study, key: Group, rows: Rows, random: Rows) -> dict[str, Any]:
    """Cases of one prompt are not independent (four regions of one image): intervals resample prompts."""
    of_random = {case_of(row): row["success"] for row in random}
    paired = [row for row in rows if case_of(row) in of_random and key.control != RANDOM]
    difference = [float(row["success"]) - float(of_random[case_of(row)]) for row in paired]
    low, high = _interval(study, [float(row["success"]) for row in rows], rows, (0.0, 1.0))
    difference_low, difference_high = _interval(study, difference, paired, (-1.0, 1.0))
    kept = [row["objects_kept"] for row in rows if row["objects_kept"] is not None]
    return {
        **key._asdict(),
        "strength": rows[0]["strength"],
        "success": float(np.mean([row["success"] for row in rows])),
        "success_ci_low": low,
        "success_ci_high": high,
        "above_random": float(np.mean(difference)) if difference else None,
        "above_random_ci_low": difference_low,
        "above_random_ci_high": difference_high,
        "effect": float(np.mean([row["effect"] for row in rows])),
        "outside_change": float(np.mean([row["outside_change"] for row in rows])),
        "objects_kept": float(np.mean(kept)) if kept else None,
        "n": len(rows),
        "n_prompts": len({row["prompt_id"] for row in rows}),
    }


def _interval(
    study: Study, values: list[float], rows: Rows, bounds: tuple[float, float]
) -> tuple[float | None, float | None]:
    """None where there is no value, or where all prompts agree on one that says nothing of its spread."""
    prompts = [row["prompt_id"] for row in rows]
    samples = study.config.interventions.bootstrap
    low, high = cluster_interval(np.array(values), prompts, samples, study.config.seed, bounds)
    return (None, None) if np.isnan(low) else (low, high)
