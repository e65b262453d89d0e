"""Publishing a finished unit of work, table parts first and the record last, and reading the parts of shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.formats import KEY, TABLE, format_of
from storage.publish import publish_unit
from storage.records import forget_record, missing, read_record, write_record
from storage.schemas import KEYS, SCHEMAS, WRITERS
from storage.shown import (
    FORMER,
    FORMER_FILES,
    FORMER_TRAINED,
    OF_GROWTH,
    TRAINED_ON,
    remove_former,
    shown_growths,
    shown_tables,
)
from storage.tables import Filters, open_parts, part_path
from storage.vouch import check, digest_of_bytes, vouched_files
from study.errors import StudyError
from study.grown import growth_of
from study.paths import shard_name, shards_of
from study.stage import PART_OF_GROWTH
from study.stages import STAGES
from study.study import Study
from study.units import is_by_shard

Rows = list[dict[str, Any]] | Any  # or a pa.Table, which carries no types


def publish(
    study: Study,
    stage: str,
    unit: str,
    tables: dict[str, Rows],
    extra: dict[str, Any] | None = None,
    files: Iterable[Path] = (),
) -> None:
    """Write each table's part, then the record that makes the unit done: see ``storage.publish``.

    The record also carries the hash of what the unit followed from. ``files`` are those the unit wrote besides tables.
    """
    part, more, old = STAGES[stage].part(unit), dict(extra or {}), None
    if study.config.prompts.grows:
        old = read_record(study.root, stage, unit)
        forget(study, stage, unit)
        growth, kept = growth_of(study, stage, unit), read_record(study.root, stage, unit) or {}
        more |= {OF_GROWTH: growth, **{name: kept[name] for name in (FORMER,) if name in kept}}
        if growth and not is_by_shard(STAGES[stage].units) and stage != "plan":
            part = f"{part}{PART_OF_GROWTH}{growth}"
    publish_unit(study.root, stage, unit, tables, part, study.hash_of(stage), files, more, still_shown=FORMER in more)
    if old and FORMER not in more:
        now = read_record(study.root, stage, unit) or {}
        remove_former(study.root, {FORMER: old.get("tables", {}), "tables": now.get("tables", {})})


def forget(study: Study, stage: str, unit: str) -> None:
    """Have a unit's record vouch for nothing: its files are about to be replaced.

    Of a study that grows, rows that are shown until the new growth is there go on being shown, by a record that says
    that alone, and what files the unit had.
    """
    record, limit = read_record(study.root, stage, unit), shown_growths(study.root).get(stage)
    growth = growth_of(study, stage, unit) if study.config.prompts.grows and record is not None else 0
    if record is None or limit is None or growth <= limit:
        forget_record(study.root, stage, unit)
        return
    kept = {FORMER: shown_tables(record, limit), OF_GROWTH: growth}
    if TRAINED_ON in record or FORMER_TRAINED in record:
        kept[FORMER_FILES] = record.get(FORMER_FILES) or vouched_files(record)
        kept[FORMER_TRAINED] = record.get(FORMER_TRAINED) or record[TRAINED_ON]
    write_record(study.root, stage, unit, kept, "")


def lacking(study: Study, stage: str, units: list[str]) -> list[str]:
    """The units that are not done under the study's settings, in the order given.

    Folders filled before stages had hashes of their own carry the whole configuration's.
    """
    return missing(study.root, stage, units, study.hash_of(stage), study.config_hash)


def read_shards(
    study: Study,
    table: str,
    start: int,
    stop: int,
    columns: list[str] | None = None,
    splits: tuple[str, ...] = (),
    filters: Filters | None = None,
) -> pa.Table:
    """Rows with start <= prompt_id < stop of a table that has one part a shard, sorted by key.

    Only the parts of those shards are opened; a dataset over all of them would read every footer first. ``splits``
    names the splits that the table covers, all by default. Raises ``StudyError`` for a part that no record names,
    ``StorageError`` for one that is not there or is damaged.
    """
    size = study.config.prompts.shard_size
    shards = [shard for shard in shards_of(study, *splits) if start < (shard + 1) * size and shard * size < stop]
    files = [_shard_part(study, table, shard) for shard in shards]
    wanted = columns or SCHEMAS[table].names
    keyed = list(dict.fromkeys([*wanted, *KEYS[table]]))
    within = [("prompt_id", ">=", start), ("prompt_id", "<", stop), *(filters or [])]
    if not files:
        return SCHEMAS[table].empty_table().select(wanted)
    try:
        rows = open_parts(table, files).to_table(columns=keyed, filter=pq.filters_to_expression(within))
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"a part of {files[0].parent} cannot be read ({error}): run `concepts verify`") from error
    return rows.sort_by([(name, "ascending") for name in KEYS[table]]).select(wanted)


def _shard_part(study: Study, table: str, shard: int) -> Path:
    """The part of one shard, compared with its record. Raises ``StudyError`` if no record names it."""
    stage, unit = WRITERS[table][0], shard_name(shard)
    facts = (read_record(study.root, stage, unit) or {}).get("tables", {}).get(table)
    if facts is None:
        raise StudyError(
            f"{study.root}: stage {stage!r} has no record of shard {unit}, whose rows of {table} are needed: run "
            "`concepts run` on this folder first"
        )
    path = part_path(study.root, table, facts["part"])
    format_of(facts.get(KEY), TABLE, path)
    check(path, facts["sha256"])
    return path


def prompts_by_shard(study: Study, prompts: pa.Table, units: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Shards by name -> what their records say of the prompts that they were sampled from, as these prompts have it."""
    size = study.config.prompts.shard_size
    for unit in units:
        yield unit, told_prompts(prompts.slice(int(unit) * size, size))


def told_prompts(prompts: pa.Table) -> str:
    """A digest of prompts' ids, captions and seeds: what an image follows from."""
    rows = [prompts[name].to_pylist() for name in ("prompt_id", "caption", "seed")]
    return digest_of_bytes(json.dumps(rows).encode())
