"""Figures of a page: small multiples with a legend, what they show in a sentence, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

import concept_atlas
from explorer.charts import Axis, Panel, Point, Series, drawn, time_axis, top_of
from explorer.source import Source

Row = dict[str, Any]

# The lines of figures, in this order: of explained variance; of the dictionaries whose labels are compared; of layouts.
EXPLAINED = ("trained", "shared", "frozen", "untrained")
KINDS = ("trained", "shared", "untrained", "shuffled_positions")
METHODS = ("posterior", "concepts", "position", "raw")

# The stylesheet's colour of each line, the same on every page, whatever other lines a study lacks; s2 to s4 are dashed:
# they are for controls.
COLOURS = {
    "trained": 0,
    "shared": 1,
    "untrained": 2,
    "frozen": 4,
    "shuffled_positions": 3,
    "posterior": 0,
    "concepts": 1,
    "position": 3,
    "raw": 5,
    "edit": 0,
    "random direction": 3,
}

# What the kinds of dictionary, methods and controls are, to a pointer that rests on the name.
TOLD = {
    "trained": "the study's dictionaries",
    "shared": "one dictionary for all times of a block",
    "untrained": "control: the dictionary as initialised",
    "frozen": "control: only the encoder trained, concept vectors as drawn",
    "shuffled_positions": "control: the dictionary's codes against masks whose cells were permuted in every image",
    "posterior": "by concepts, times how often the label is there at each place",
    "concepts": "by concepts, as in the paper",
    "position": "control: the label's mean mask, whatever the image",
    "raw": "a linear probe of the activations: what a dictionary could reach",
    "edit": "by the concepts that carry the label",
    "random direction": "control: a random direction of the same norm",
}


@dataclass(frozen=True)
class Figure:
    """One figure, ready for its template.

    ``legend``: (line, what it is, colour). ``numbers``: (panel, line, place, value, low, high) of every point.
    """

    title: str
    told: str
    missing: str
    panels: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[str, str, int], ...]
    numbers: tuple[tuple[str, str, str, float, float | None, float | None], ...]
    place: str


def figure(title: str, told: str, table: str, what: str, panels: Sequence[Panel], axis: Axis | None) -> Figure:
    """Of panels that share both axes. Without a point it says which command writes the table."""
    there = [panel for panel in panels if any(series.points for series in panel.series)]
    if not there or axis is None:
        return Figure(title, told, not_yet(table), (), (), (), "")
    top = top_of(there)
    legend = [(series.name, series.told, series.colour) for series in there[0].series]
    names = dict(axis.ticks)
    numbers = [
        (panel.title, series.name, names[p.x], p.y, p.low, p.high)
        for panel in there
        for series in panel.series
        for p in series.points
    ]
    pictures = [(panel.title, drawn(panel, axis, top, what)) for panel in there]
    return Figure(title, told, "", tuple(pictures), tuple(legend), tuple(numbers), axis.name)


def not_yet(table: str) -> str:
    """Why there is nothing to see, and what is to be done about it."""
    return f"No rows yet: `concepts {concept_atlas.writer_of(table)}` writes them (table {table})."


def over_time(
    source: Source, rows: Iterable[Row], names: Sequence[str], name_of: Callable[[Row], str], value: tuple[str, ...]
) -> tuple[list[Panel], Axis | None]:
    """A panel for each block and conditioning that rows have, a line for each name; ``value``: its column and ends."""
    found: dict[tuple[str, str], dict[str, list[Point]]] = {}
    for row in rows:
        ends = [row[name] for name in value]
        if ends[0] is not None:
            lines = found.setdefault((row["block"], row["conditioning"]), {})
            lines.setdefault(name_of(row), []).append(Point(row["t"], *ends))
    present = [name for name in names if any(name in lines for lines in found.values())]
    panels = [
        Panel(f"{block}, {conditioning}", tuple(_series(name, found[block, conditioning]) for name in present))
        for block, conditioning in places(source)
        if (block, conditioning) in found
    ]
    return panels, time_axis([site.t for site in source.atlas.sites]) if panels else None


def method_of(row: Row) -> str:
    """By which way a row predicts."""
    return str(row["method"])


def _series(name: str, lines: dict[str, list[Point]]) -> Series:
    return series_of(name, sorted(lines.get(name, []), key=lambda point: -point.x))


def series_of(name: str, points: Iterable[Point]) -> Series:
    """The line of one of the names of ``TOLD``, in its colour."""
    return Series(name, TOLD[name], COLOURS[name], tuple(points))


def places(source: Source) -> list[tuple[str, str]]:
    """Every (block, conditioning) of the study, in the configuration's order, all of one conditioning first."""
    sites = source.atlas.sites
    conditionings = list(dict.fromkeys(site.conditioning for site in sites))
    blocks = list(dict.fromkeys(site.block for site in sites))
    return [(block, conditioning) for conditioning in conditionings for block in blocks]
