"""What the edits did, for each kind, window and control: rates, and differences to the random direction.

Each group is summed up over all its targets and for each apart, and twice: over all cases, and over those that the
unedited image does not fulfil. A quarter of all spatial cases succeed untouched, since the object is in one of the four
quadrants: only where it lies elsewhere does success say that the edit moved it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from concepts import damage_table
from concepts.damage_table import Unedited, damage_columns
from concepts.edit_controls import RANDOM, UNEDITED
from concepts.intervals import cluster_interval

ALL = "*"  # of the targets
NEW = "new"  # cases that the unedited image does not fulfil
COLUMNS = ["prompt_id", "kind", "window", "target", "region", "control", "strength", "success", "effect"]
COLUMNS += ["outside_change", "objects_kept", "similarity_rise", "lpips", *damage_table.COLUMNS]
Rows = list[dict[str, Any]]


class Group(NamedTuple):
    """Columns that tell the rows of ``intervention_effects`` apart."""

    kind: str
    window: str
    control: str
    target: str
    cases: str


def effect_rows(rows: Rows, samples: int, seed: int) -> Rows:
    """The rows of ``intervention_effects``, from rows of ``interventions`` with (at least) ``COLUMNS``.

    Intervals resample prompts ``samples`` times, by ``seed``.
    """
    groups = dict(_groups(rows))
    unedited = Unedited([row for row in rows if row["control"] == UNEDITED], seed)
    return [
        _effect_row(key, of_group, groups.get(key._replace(control=RANDOM), []), samples, seed)
        | damage_columns(of_group, unedited, key.control != UNEDITED, samples, seed)
        for key, of_group in groups.items()
    ]


def case_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """What rows of one window under different controls have in common if they are of one case."""
    return row["kind"], row["prompt_id"], row["target"], row["region"]


def _groups(rows: Rows) -> Iterator[tuple[Group, Rows]]:
    """Every group that has a row; the unedited images succeed in none of the new cases, by their definition."""
    fulfilled = {(row["window"], case_of(row)) for row in rows if row["control"] == UNEDITED and row["success"]}
    groups: dict[Group, Rows] = {}
    for row in rows:
        new = (row["window"], case_of(row)) not in fulfilled and row["control"] != UNEDITED
        for cases in ("all", NEW) if new else ("all",):
            for target in (ALL, row["target"]):
                key = Group(row["kind"], row["window"], row["control"], target, cases)
                groups.setdefault(key, []).append(row)
    yield from groups.items()


def _effect_row(key: Group, rows: Rows, random: Rows, samples: int, seed: int) -> dict[str, Any]:
    """Cases of one prompt are not independent (four regions of one image): intervals resample prompts."""
    success = [float(row["success"]) for row in rows]
    paired = [] if key.control == RANDOM else _paired(rows, random)
    difference = [above for _, above in paired]
    low, high = _interval(success, rows, (0.0, 1.0), samples, seed)
    above_low, above_high = _interval(difference, [row for row, _ in paired], (-1.0, 1.0), samples, seed)
    rose = [float(_rise(row) > 0) for row in rows] if key.kind == "global" and key.control != UNEDITED else []
    rose_low, rose_high = _interval(rose, rows[: len(rose)], (0.0, 1.0), samples, seed)
    return {
        **key._asdict(),
        "strength": rows[0]["strength"] if len({row["strength"] for row in rows}) == 1 else None,
        "success": float(np.mean(success)),
        "success_ci_low": low,
        "success_ci_high": high,
        "above_random": float(np.mean(difference)) if difference else None,
        "above_random_ci_low": above_low,
        "above_random_ci_high": above_high,
        "effect": float(np.mean([row["effect"] for row in rows])),
        "outside_change": float(np.mean([row["outside_change"] for row in rows])),
        "objects_kept": _mean_of(rows, "objects_kept"),
        "rose": float(np.mean(rose)) if rose else None,
        "rose_ci_low": rose_low,
        "rose_ci_high": rose_high,
        "similarity_rise": _mean_of(rows, "similarity_rise"),
        "lpips": _mean_of(rows, "lpips"),
        "n": len(rows),
        "n_prompts": len({row["prompt_id"] for row in rows}),
    }


def _rise(row: dict[str, Any]) -> float:
    """Of the image's similarity to the concepts' words or, where that was not asked for, of the look's probability."""
    rise = row.get("similarity_rise")
    return float(row["effect"] if rise is None else rise)


def _mean_of(rows: Rows, name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return float(np.mean(values)) if values else None


def _paired(rows: Rows, random: Rows) -> list[tuple[dict[str, Any], float]]:
    """Rows whose case has a random direction too, with their success less that one's."""
    of_random = {case_of(row): float(row["success"]) for row in random}
    return [(row, float(row["success"]) - of_random[case_of(row)]) for row in rows if case_of(row) in of_random]


def _interval(
    values: list[float], rows: Rows, bounds: tuple[float, float], samples: int, seed: int
) -> tuple[float | None, float | None]:
    """None where there is no value, or where all prompts agree on one that says nothing of its spread."""
    prompts = [row["prompt_id"] for row in rows]
    low, high = cluster_interval(np.array(values), prompts, samples, seed, bounds)
    return (None, None) if np.isnan(low) else (low, high)
