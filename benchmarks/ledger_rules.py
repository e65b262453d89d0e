"""How the ledger comes to a verdict: a claim, what a study's tables answer to it, and the interval that decides.

A row of the ledger is a ``Claim``, declared in ``benchmarks/ledger_claims.py``. Its query returns the columns of one of
two forms. Cases: one row each, with ``unit`` (what intervals resample or average: a prompt, a site, a label), ``ours``
and, unless it is null, ``control`` on the same case. Or a summary of one row, where the table holds intervals already:
``ours``, ``ours_low``, ``ours_high`` and, unless they are null, ``control``, ``above``, ``above_low``, ``above_high``,
the last three being the difference to the control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from concepts.intervals import cluster_interval, mean_interval

REPRODUCED, DIFFERS, UNDECIDED, UNTESTED = "reproduced", "differs", "undecided", "untested here"
VERDICTS = (REPRODUCED, DIFFERS, UNDECIDED, UNTESTED)
SAMPLES, SEED = 2000, 0  # of the resampling
Interval = tuple[float, float]


class Measured(NamedTuple):
    """A mean and its 95 % interval, None where there is none."""

    mean: float
    interval: Interval | None


@dataclass(frozen=True)
class Rule:
    """When a claim counts as reproduced: ``name`` of the arithmetic in ``decide``, and the number that it compares to.

    above, below: the difference to the control lies, with its whole interval, above (below) ``bound``. level: it lies
    within ``bound`` of 0. number: the interval of ours has the paper's number, ``bound``, in it, and the control's has
    not: what a random direction gives as well says nothing.
    """

    name: str
    bound: float = 0.0


ABOVE, BELOW = Rule("above"), Rule("below")


@dataclass(frozen=True)
class Claim:
    """One number or claim of the paper. ``needs``: what SD v1.4 would need to test it, a key of ``NEEDS``.

    ``against`` says in words what ``control`` is. Without a ``query``, or a study of the ``setting`` (dotted name,
    value), it is untested here, for the reason ``because``.
    ``student``: the interval is Student's t over units, for measured quantities of few units; otherwise whole units
    are resampled, and values lie within ``bounds``. ``scale``: what values are multiplied with to be shown.
    """

    section: str
    text: str
    paper: str
    needs: str
    rule: Rule | None = None
    query: str = ""
    against: str = ""
    because: str = ""
    setting: tuple[str, Any] | None = None
    student: bool = False
    bounds: Interval = (0.0, 1.0)
    scale: float = 1.0
    digits: int = 2


@dataclass(frozen=True)
class Finding:
    """What a study says of a claim: ours, its control, and the difference of the two."""

    ours: Measured
    control: Measured | None = None
    difference: Measured | None = None


def side(interval: Interval, bound: float) -> str:
    """Where an interval lies: above the bound, below it, or straddling (an end on the bound straddles)."""
    low, high = interval
    return "above" if low > bound else "below" if high < bound else "straddles"


def decide(rule: Rule, finding: Finding) -> str:
    """The verdict: none but ``UNTESTED`` without the interval (and, for all but numbers, the control) that it needs."""
    tested = finding.ours if rule.name == "number" else finding.difference
    if tested is None or tested.interval is None:
        return UNTESTED
    if rule.name == "number":
        return _number(tested.interval, finding.control, rule.bound)
    if rule.name == "level":
        return _level(tested.interval, rule.bound)
    if rule.name not in ("above", "below"):
        raise ValueError(f"no rule is called {rule.name!r}")
    found = side(tested.interval, rule.bound)
    return UNDECIDED if found == "straddles" else REPRODUCED if found == rule.name else DIFFERS


def _number(interval: Interval, control: Measured | None, number: float) -> str:
    if side(interval, number) != "straddles":
        return DIFFERS
    beside = control.interval if control else None
    return UNDECIDED if beside and side(beside, number) == "straddles" else REPRODUCED


def _level(interval: Interval, margin: float) -> str:
    low, high = interval
    if -margin < low and high < margin:
        return REPRODUCED
    return DIFFERS if low > margin or high < -margin else UNDECIDED


def found_in(rows: Sequence[Mapping[str, Any]], claim: Claim) -> Finding | None:
    """What the rows of a claim's answer say; None if there are none that have a value."""
    rows = [row for row in rows if row["ours"] is not None]
    if not rows:
        return None
    if "unit" in rows[0]:
        return _of_cases(rows, claim)
    (row,) = rows
    return Finding(*(_of_summary(row, name, claim.scale) for name in ("ours", "control", "above")))


def _of_summary(row: Mapping[str, Any], name: str, scale: float) -> Measured | None:
    mean, low, high = (row.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if mean is None:
        return None
    interval = None if low is None or high is None else (float(low) * scale, float(high) * scale)
    return Measured(float(mean) * scale, interval)


def _of_cases(rows: Sequence[Mapping[str, Any]], claim: Claim) -> Finding:
    """Where some cases have a control, only those count: ours, its control and the difference are of the same cases."""
    pairs = [row for row in rows if row.get("control") is not None]
    low, high = claim.bounds
    ours = _measured(claim, [(row["unit"], row["ours"]) for row in pairs or rows], claim.bounds)
    if not pairs:
        return Finding(ours)
    control = _measured(claim, [(row["unit"], row["control"]) for row in pairs], claim.bounds)
    apart = [(row["unit"], float(row["ours"]) - float(row["control"])) for row in pairs]  # SQL's 0.1 is a decimal
    return Finding(ours, control, _measured(claim, apart, (low - high, high - low)))


def _measured(claim: Claim, values: Sequence[tuple[Any, float]], bounds: Interval) -> Measured:
    """The mean of all values; its interval over units, since those of one unit are not independent."""
    units, numbers = [unit for unit, _ in values], np.array([float(value) for _, value in values])
    if claim.student:
        low, high = mean_interval(np.array([numbers[[u == unit for u in units]].mean() for unit in sorted(set(units))]))
    else:
        low, high = cluster_interval(numbers, units, SAMPLES, SEED, bounds)
    mean = float(numbers.mean()) * claim.scale
    return Measured(mean, None if np.isnan(low) else (low * claim.scale, high * claim.scale))
