"""A unit of work, what came of it and how long it takes, in words: for logs, names of task runs and pages."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import astuple
from typing import Any

from study.units import DRAW_UNIT, Calibration, PlannedEdit

UNSAID = (DRAW_UNIT,)  # the name of a stage's only unit says nothing
# Of what a piece of work returns, what its name in words has said.
NAMING = ("block", "t", "conditioning", "k", "shard", "growth", "unit", "calibration", "kind")
DIGITS = 4  # of a number that is no count
MINUTE, HOUR, DAY = 60, 3600, 86_400
# Units of a time in words, their seconds, and the seconds from which on others are used.
SPANS = (("min", "s", MINUTE, 1, HOUR), ("h", "min", HOUR, MINUTE, DAY), ("d", "h", DAY, HOUR, math.inf))


def unit_words(units: Collection[str], given: Mapping[str, Any]) -> str:
    """``mid t=0.50 cond k=10``, ``shard 3``: units that are made together, by what their work is given.

    Where that says nothing, by their names; empty for the only unit of a stage.
    """
    said = [words for name, value in given.items() if (words := _given_words(name, value))]
    return " ".join(said or [unit for unit in units if unit not in UNSAID])


def _given_words(name: str, value: Any) -> str:
    if isinstance(value, PlannedEdit | Calibration):
        return " ".join(astuple(value))
    if name == "site":
        block, t, conditioning = value
        return f"{block} t={t:.2f} {conditioning}"
    if name in ("shard", "growth"):
        return f"{name} {value}"
    if isinstance(value, float):
        return f"{name}={value:.2f}"
    if isinstance(value, int):
        return f"{name}={value}"
    return value if isinstance(value, str) else ""


def figures_words(made: Any) -> str:
    """``assigned 12, cautions 2``: what a piece of work returned, but for what names it.

    Lists are told by their lengths; what is not known is left out.
    """
    if not isinstance(made, Mapping):
        return ""
    said = []
    for name, value in made.items():
        if name in NAMING:
            continue
        known = value if value is None or isinstance(value, str | int | float) else _length(value)
        if known is not None and known != "":
            said.append(f"{name.replace('_', ' ')} {_figure(known)}")
    return ", ".join(said)


def counted(number: int, noun: str) -> str:
    """``1 caption``, ``1,240 captions``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _figure(value: Any) -> str:
    short = sensible(value)
    return f"{short:g}" if isinstance(short, float) else str(short)


def _length(value: Any) -> int | None:
    return len(value) if isinstance(value, Collection) else None


def sensible(value: Any) -> Any:
    """A float to four digits, whole from a thousand on; anything else as it is."""
    if not isinstance(value, float) or not math.isfinite(value):
        return value
    return round(value) if abs(value) >= 10 ** (DIGITS - 1) else float(f"{value:.{DIGITS}g}")


def duration(seconds: float) -> str:
    """``0.25 s``, ``4.2 s``, ``38 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    large, small, size, step = next(row for row in SPANS if whole < row[4])[:4]
    rest = whole % size // step
    return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
