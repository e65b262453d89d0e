"""A concept followed through time: its partner in the dictionary of each other time of its block, with controls."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from explorer.addresses import At
from explorer.figure import Row
from explorer.missing import concepts_of
from explorer.source import Source

MEASURES = ("coactivation", "cosine")


def through_time(source: Source, at: At, cid: int) -> list[dict[str, Any]]:
    """One strip for each way of choosing partners: steps from noise to image, and what leads from each to the next."""
    strips = []
    for chosen_by in MEASURES:
        rows = source.arrow(
            "concept_matches",
            block=at.block,
            conditioning=at.conditioning,
            k=at.k,
            kind="trained",
            chosen_by=chosen_by,
        )
        if rows.num_rows:
            strips.append({"chosen_by": chosen_by, "steps": _steps(source, rows, at, cid, chosen_by)})
    return strips


def _steps(source: Source, rows: pa.Table, at: At, cid: int, measure: str) -> list[dict[str, Any]]:
    """For each time: the concept, and the row of ``concept_matches`` that leads to it from the time before."""
    chain: dict[float, int] = {at.t: cid}
    links: dict[float, Row] = {}  # by the later time
    times = sorted({site.t for site in source.atlas.sites if site.block == at.block}, reverse=True)
    here = times.index(at.t)
    for later in times[here + 1 :]:
        earlier = times[times.index(later) - 1]
        step = _leading(rows, earlier, later, "cid_from", chain.get(earlier))
        if step:
            links[later], chain[later] = step[0], step[0]["cid_to"]
    for earlier in reversed(times[:here]):
        later = times[times.index(earlier) + 1]
        back = _leading(rows, earlier, later, "cid_to", chain.get(later))
        if back:
            best = max(back, key=lambda row: (row["mutual"], row[measure], -row["cid_from"]))
            links[later], chain[earlier] = best, best["cid_from"]
    return [_step(source, at, t, chain.get(t), links.get(t)) for t in times]


def _leading(rows: pa.Table, earlier: float, later: float, column: str, cid: int | None) -> list[Row]:
    """The rows between two times that have a concept in a column; none for no concept."""
    if cid is None:
        return []
    between = pc.and_(pc.equal(rows["t_from"], earlier), pc.equal(rows["t_to"], later))
    return list(rows.filter(pc.and_(between, pc.equal(rows[column], cid))).to_pylist())


def _step(source: Source, at: At, t: float, cid: int | None, link: Row | None) -> dict[str, Any]:
    there = At(at.block, t, at.conditioning, at.k)
    step: dict[str, Any] = {"t": t, "cid": cid, "link": link, "here": t == at.t, "path": there.path}
    if cid is not None:
        step["url"] = there.url(cid)
        known = concepts_of(source, there).get(cid)
        step["label"], step["act_max"] = (known.label, known.act_max) if known else (None, 0.0)
    return step
