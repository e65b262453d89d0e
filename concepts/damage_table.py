"""What edits cost, summed up: means with intervals, and how far their images are from the unedited ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from concepts.frechet import frechet_chance, frechet_distance
from concepts.intervals import cluster_interval

MEANS = {  # columns of ``interventions`` -> the least and the largest value there is; NaN for none
    "layout_iou": (0.0, 1.0),
    "fidelity": (0.0, 1.0),
    "off_distribution": (0.0, float("nan")),
    "off_downstream": (0.0, float("nan")),
}
COLUMNS = [*MEANS, "features"]
SPLITS = 10  # into halves, behind the chance level of a Frechet distance
Rows = list[dict[str, Any]]


class Unedited:
    """What is known of the unedited images: each one's fidelity, and its features."""

    def __init__(self, rows: Rows, seed: int) -> None:
        """``rows``: those of ``interventions`` of unedited images; an image has one for each case."""
        self.seed = seed
        self.fidelity = {row["prompt_id"]: row["fidelity"] for row in rows}
        self.features: Mapping[int, np.ndarray] = {
            row["prompt_id"]: np.asarray(row["features"]) for row in rows if row["features"] is not None
        }
        self._chance: dict[tuple[int, ...], float | None] = {}

    def chance(self, prompt_ids: tuple[int, ...]) -> float | None:
        """Of Frechet distances of edits of these prompts."""
        if prompt_ids not in self._chance:
            x_NF = np.array([self.features[prompt_id] for prompt_id in prompt_ids])
            self._chance[prompt_ids] = frechet_chance(x_NF, SPLITS, self.seed)
        return self._chance[prompt_ids]


def damage_columns(rows: Rows, unedited: Unedited, edited: bool, samples: int, seed: int) -> dict[str, float | None]:
    """Columns of ``intervention_effects`` for a group of rows; ``edited``: it is not of the unedited images."""
    found: dict[str, float | None] = {}
    for name, bounds in MEANS.items():
        found |= with_interval(name, [(row, row[name]) for row in rows], bounds, samples, seed)
    found |= with_interval("fidelity_lost", _losses(rows, unedited) if edited else [], (-1.0, 1.0), samples, seed)
    return found | (_frechet(rows, unedited) if edited else {"frechet": None, "frechet_chance": None})


def with_interval(
    name: str, values: list[tuple[dict[str, Any], float | None]], bounds: tuple[float, float], samples: int, seed: int
) -> dict[str, float | None]:
    """The mean of the values that there are, each with its row, and its interval: prompts are resampled."""
    known = [(row["prompt_id"], value) for row, value in values if value is not None]
    numbers = np.array([value for _, value in known], float)
    low, high = cluster_interval(numbers, [prompt_id for prompt_id, _ in known], samples, seed, bounds)
    ends = (None, None) if np.isnan(low) or np.isnan(high) else (low, high)
    mean = float(numbers.mean()) if known else None
    return {name: mean, f"{name}_ci_low": ends[0], f"{name}_ci_high": ends[1]}


def _losses(rows: Rows, unedited: Unedited) -> list[tuple[dict[str, Any], float | None]]:
    """Rows, and by how much their image shows less of its caption than the unedited one."""
    both = [(row, unedited.fidelity.get(row["prompt_id"]), row["fidelity"]) for row in rows]
    return [(row, before - after) for row, before, after in both if before is not None and after is not None]


def _frechet(rows: Rows, unedited: Unedited) -> dict[str, float | None]:
    pairs = [
        (row["prompt_id"], np.asarray(row["features"]), unedited.features[row["prompt_id"]])
        for row in rows
        if row["features"] is not None and row["prompt_id"] in unedited.features
    ]
    if not pairs:
        return {"frechet": None, "frechet_chance": None}
    prompt_ids, after, before = zip(*pairs, strict=True)
    return {
        "frechet": frechet_distance(np.array(after), np.array(before)),
        "frechet_chance": unedited.chance(tuple(sorted(set(prompt_ids)))),
    }
