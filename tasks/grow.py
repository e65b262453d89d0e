"""A growing study's planning: what its source has gained becomes new prompts and new shards, and nothing else moves."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from diffusion.model import token_ids
from storage.growing import Growth, grow_prompts
from storage.growth import BEFORE, GROWTH, Growths, growth_unit, refresh_due, shards_told
from storage.records import read_record, records
from storage.shown import hide_later, shown_growths
from storage.tables import part_path, read_table
from study.errors import StudyError
from study.identity import SOURCE, contents_of
from study.models import borrowed_model
from study.paths import growths
from study.publish import prompts_by_shard, publish
from study.stages import STAGES
from study.store import create_store, store_of
from study.study import Study
from study.words import counted


def grow(study: Study, number: int) -> dict[str, Any]:
    """Take in what the source has gained, as growth ``number``: its part of ``prompts``, and room for it in the store.

    The store is resized first and the record comes last. A kill in between leaves a store with room that nobody counts
    on, and the next run takes in what the source has then. Returns what came in, in words.
    """
    before, dropped = growths(study), Counter[str]()
    if number <= before.last:
        return _restore(study, before, number)
    source = study.source or contents_of(study.config).get(SOURCE, "")
    known = read_table(study.root, "prompts")
    with borrowed_model(study) as model:
        tokens = functools.partial(token_ids, model)
        growth = grow_prompts(study.config.prompts, tokens, model.context, study.config.seed, known, dropped)
    grown = pa.concat_tables([known, growth.prompts])
    refuse_other_prompts(study, grown, len(before.splits))
    store = create_store(study, grown.num_rows)
    facts = _facts(study, before, growth, source)
    if number:
        hide_later(study.root, STAGES, before.last)
    extra = {GROWTH: facts, BEFORE: list(before.facts), "dropped": dict(dropped), "store": store.facts.attributes()}
    publish(study, "plan", growth_unit(number), {"prompts": growth.prompts}, extra=extra)
    return _told([facts])


def _restore(study: Study, known: Growths, number: int) -> dict[str, Any]:
    """Write the lost record of a growth again: the latest tells of it, and its part is there or cannot be made."""
    first, end = ([0, *known.ends][number + at] for at in (0, 1))
    unit, size = growth_unit(number), study.config.prompts.shard_size
    path = part_path(study.root, "prompts", unit)
    try:
        table = pq.read_table(path, partitioning=None, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        raise StudyError(
            f"{study.root}: growth {number} has lost its record and its part of prompts ({error}): put "
            f"tables/prompts/{unit}.parquet back from a copy of the study"
        ) from error
    if table["prompt_id"].to_pylist() != list(range(first * size, end * size)):
        raise StudyError(f"{study.root}: tables/prompts/{unit}.parquet is not that of growth {number}: put it back")
    facts = list(known.facts)
    extra = {GROWTH: facts[number], BEFORE: facts[:number], "store": store_of(study).facts.attributes()}
    publish(study, "plan", unit, {"prompts": table}, extra=extra)
    return _told([facts[number]])


def refuse_other_prompts(study: Study, table: pa.Table, first: int = 0) -> None:
    """Raise ``StudyError`` if shards from ``first`` on were sampled from other prompts than the captions give now."""
    recorded = {unit: read_record(study.root, "collect", unit) or {} for unit in records(study.root, "collect")}
    for unit, digest in prompts_by_shard(study, table, [unit for unit in recorded if int(unit) >= first]):
        if recorded[unit].get("prompts", digest) != digest:
            raise StudyError(
                f"{study.root}: shard {unit} was sampled from other prompts than prompts.source gives now: put back "
                "the captions that the study was made from"
            )


def _facts(study: Study, before: Growths, growth: Growth, source: str) -> dict[str, Any]:
    """What the record says of a growth; ``refresh``: how SAEs follow it, null where they stay as they are."""
    sae = study.config.sae
    return {
        "shards": shards_told(growth.shards),
        "refresh": refresh_due(before, growth.shards, sae.refresh, sae.refresh_from),
        "source": source,
        "prompts": growth.prompts.num_rows,
        "waiting": growth.waiting,
        "gone": growth.gone,
    }


def told_growth(study: Study) -> dict[str, str]:
    """In words what came in since the images were shown last, if that was not all that there is."""
    known = growths(study)
    shown = shown_growths(study.root).get("collect", known.last)
    return _told(list(known.facts[shown + 1 :])) if shown < known.last else {}


def _told(grown: list[dict[str, Any]]) -> dict[str, str]:
    """Growths together: ``1,240 new captions, 39 new shards``, what waits and what the source lost."""
    captions = sum(facts["prompts"] for facts in grown)
    shards = sum(count for facts in grown for _, count in facts["shards"])
    told = {"grown": f"{counted(captions, 'new caption')}, {counted(shards, 'new shard')}"}
    if waiting := sum(grown[-1]["waiting"].values()):
        told["waiting"] = f"{counted(waiting, 'caption')} until a shard is full"
    if gone := grown[-1]["gone"]:
        told["gone"] = f"{counted(gone, 'caption')} changed in the source or left it; the prompts stay"
    return told
