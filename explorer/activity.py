"""How strongly and how often a concept fires, and which concepts fire where it does: what its page shows of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from explorer.addresses import At
from explorer.bars import Bar, BarChart
from explorer.missing import concepts_of
from explorer.source import Source

UNCOUNTED = (
    "This study was labelled before activations were counted: `concepts revise` and then `concepts run` label it "
    "anew (table concept_activity)."
)


@dataclass(frozen=True)
class Fires:
    """``problem``: why there is neither a histogram nor a concept that fires with it; empty otherwise.

    ``less`` of the ``others``, which are those of the dictionary that fire anywhere, fire at fewer positions than it.
    """

    problem: str
    strengths: BarChart | None
    coactive: list[dict[str, Any]]
    density: float
    densities: BarChart | None
    less: int
    others: int


def activity(source: Source, at: At, cid: int) -> Fires:
    """Of one concept. Without rows of ``concept_activity`` how often it fires stands alone."""
    rows = source.rows("concept_activity", **at.columns, cid=cid)
    known = concepts_of(source, at)
    own, firing = known[cid].density, known.densities[known.densities > 0]
    return Fires(
        problem="" if rows else UNCOUNTED,
        strengths=_strengths(rows[0]["histogram"], known[cid].act_max) if rows else None,
        coactive=_coactive(source, at, rows[0]) if rows else [],
        density=own,
        densities=_densities(firing, own) if own else None,
        less=int((firing < own).sum()),
        others=len(firing) - bool(own),
    )


def _strengths(counts: list[int], top: float) -> BarChart | None:
    """How often it fires how strongly; None for a concept that never does."""
    if not any(counts):
        return None
    edges = np.linspace(0, top, len(counts) + 1).tolist()
    bars = [Bar(low, high, count) for low, high, count in zip(edges, edges[1:], counts, strict=False)]
    ticks = [(place * len(counts), f"{place * top:.3g}") for place in (0, 0.5, 1)]
    return BarChart("activation", "positions", bars, ticks)


def _densities(every: np.ndarray, own: float) -> BarChart:
    """The concepts of a dictionary by density, in half decades up to 1; the bar that ``own`` is in is marked."""
    halves = np.minimum(np.floor(2 * np.log10(every)).astype(int), -1)
    lowest = 2 * int(np.floor(halves.min() / 2))  # the axis begins with a whole decade
    mine = min(int(np.floor(2 * np.log10(own))), -1)
    bars = [
        Bar(10 ** (half / 2), 10 ** ((half + 1) / 2), int((halves == half).sum()), half == mine)
        for half in range(lowest, 0)
    ]
    step = 1 if lowest >= -8 else 2
    ticks = [(2 * decade - lowest, f"{10.0**decade:g}") for decade in range(0, lowest // 2 - 1, -step)]
    return BarChart("density", "concepts", bars, ticks)


def _coactive(source: Source, at: At, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The concepts that fire most where it does, strongest first, each with its label and its address."""
    known = concepts_of(source, at)
    columns = ("coactive", "coactivation", "coactivation_shuffled", "n_both")
    return [
        {**dict(zip(columns, values, strict=True)), "label": known[values[0]].label, "url": at.url(values[0])}
        for values in zip(*(row[name] for name in columns), strict=True)
    ]
