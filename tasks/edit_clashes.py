"""Parts of one edit that contradict each other: a concept put in by one and taken away by another, there and then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from study.errors import StudyError
from tasks.edit_request import ABLATE, PLACE, REPLACE, number_of
from tasks.edit_terms import PartPlan, SitePlan


@dataclass(frozen=True)
class Doing:
    """Concepts put in (+1) or taken away (-1) at a site. ``where``: bool [H, W], or [1, 1] for everywhere."""

    sign: float
    names: frozenset[str]
    cids: frozenset[int]
    where: np.ndarray


def refuse_clashes(parts: tuple[PartPlan, ...], steps: int) -> None:
    """Raise ``StudyError`` for two parts that put in and take away one concept at one block, step and place."""
    for (one, first), (other, second) in combinations(enumerate(parts, 1), 2):
        shared = [t for t in first.times(steps) if t in second.times(steps)]
        for here, there in product(first.sites, second.sites):
            site = here.here.site
            if (site.block, site.conditioning) != (there.here.site.block, there.here.site.conditioning):
                continue
            for t in shared:
                if both := _clash(_doings(first, here, t), _doings(second, there, t), site == there.here.site):
                    raise StudyError(
                        f"parts {one} and {other} contradict each other: {both} is put in by one and taken away by the "
                        f"other at {site.block}, t = {t:.2g}, in the same place: keep one, or part them in time, "
                        "place or block"
                    )


def _clash(ones: list[Doing], others: list[Doing], alike: bool) -> str | None:
    """What two parts disagree on at one block and time. ``alike``: the two have one SAE, so that numbers compare."""
    for one, other in product(ones, others):
        if one.sign * other.sign < 0 and (one.where & other.where).any():
            if names := sorted(one.names & other.names):
                return repr(names[0])
            if alike and (cids := sorted(one.cids & other.cids)):
                return f"concept {cids[0]}"
    return None


def _doings(planned: PartPlan, site: SitePlan, t: float) -> list[Doing]:
    return [doing for doing in _all_doings(planned, site, planned.amount(t)) if doing.sign]


def _all_doings(planned: PartPlan, site: SitePlan, amount: float) -> Iterator[Doing]:
    part, sign = planned.part, float(np.sign(amount))
    names, cids = _labels(part.concept), frozenset(site.cids)
    where = planned.inside((1, 1) if planned.share is None else planned.share.shape)
    yield Doing(-sign if part.acts == ABLATE else sign, names, cids, where)
    if part.acts == PLACE:
        yield Doing(-max(sign, 0.0), names, cids, ~where)
    if part.acts == REPLACE:
        yield Doing(-sign, _labels(part.instead_of), frozenset(site.instead), where)


def _labels(names: tuple[str, ...]) -> frozenset[str]:
    """Without numbers, which are other concepts in each dictionary."""
    return frozenset(name.lower() for name in names if number_of(name) is None)
