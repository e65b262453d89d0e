"""Publishing a finished unit of work, table parts first and the record last, and reading the parts of shards."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from storage.records import forget_record, missing, write_record
from storage.schemas import KEYS, SCHEMAS
from storage.tables import Filters, table_folder, write_part
from tasks.errors import StudyError
from tasks.study import Study, shards_of

Rows = list[dict[str, Any]] | Any  # or a pa.Table, which carries no types


def shard_name(shard: int) -> str:
    """Name of a shard in records and table parts."""
    return f"{shard:06d}"


def part_of(unit: str) -> str:
    """Name of the table part that a unit writes, unless its stage gives another."""
    return unit.replace("/", "-")


def publish(
    study: Study,
    stage: str,
    unit: str,
    tables: dict[str, Rows],
    part: str | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write each table's part, then the record that makes the unit done.

    The record carries the SHA-256 of every part, which is what ``concepts verify`` checks, and the hash of what the
    unit followed from. A record of former settings goes first: it must not vouch for parts half replaced.
    """
    name = part or part_of(unit)
    forget_record(study.root, stage, unit)
    written: dict[str, Any] = {}
    for table, rows in tables.items():
        path = Path(write_part(study.root, table, name, rows))
        count = rows.num_rows if isinstance(rows, pa.Table) else len(rows)
        written[table] = {"part": name, "rows": count, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_record(study.root, stage, unit, {**(extra or {}), "tables": written}, study.hash_of(stage))


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
    names the splits that the table covers, all by default. Raises ``StudyError`` for a part that is not there or is
    damaged.
    """
    size = study.config.prompts.shard_size
    shards = [shard for shard in shards_of(study, *splits) if start < (shard + 1) * size and shard * size < stop]
    files = [table_folder(study.root, table) / f"{shard_name(shard)}.parquet" for shard in shards]
    for file in files:
        if not file.exists():
            raise StudyError(f"{file} is missing: delete the record of its name below done/ and run the study again")
    wanted = columns or SCHEMAS[table].names
    keyed = list(dict.fromkeys([*wanted, *KEYS[table]]))
    within = [("prompt_id", ">=", start), ("prompt_id", "<", stop), *(filters or [])]
    if not files:
        return SCHEMAS[table].empty_table().select(wanted)
    dataset = ds.dataset([str(file) for file in files], schema=SCHEMAS[table], format="parquet")
    try:
        found = dataset.to_table(columns=keyed, filter=pq.filters_to_expression(within))
    except (pa.ArrowInvalid, OSError) as error:
        raise StudyError(f"a part of {files[0].parent} cannot be read ({error}): run `concepts verify`") from error
    return found.sort_by([(name, "ascending") for name in KEYS[table]]).select(wanted)
