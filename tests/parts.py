"""Parts that a record names, for tests that fill a folder by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage.records import NAME, SELF, read_record, record_path, write_record
from storage.schemas import WRITERS
from storage.tables import part_path, store_part


def add_part(root: str | Path, table: str, part: str, rows: Any, unit: str | None = None) -> Path:
    """Write a part, and name it in the record of its stage's unit, beside the parts that the record names already."""
    stage, unit = WRITERS[table][0], unit or part
    tables = (read_record(root, stage, unit) or {}).get("tables", {})
    tables = {**tables, table: store_part(root, table, part, rows)}
    write_record(root, stage, unit, {"tables": tables, "files": {}}, "h")
    return part_path(root, table, part)


def rewrite_record(root: str | Path, stage: str, unit: str, **changed: Any) -> None:
    """Give a unit's record other facts, and the digest that goes with them."""
    record = {**(read_record(root, stage, unit) or {}), **changed}
    write_record(root, stage, unit, record, record["config_hash"])


def make_old(root: str | Path, stage: str, unit: str, **changed: Any) -> None:
    """Turn a record into one of the first format, which had no digest of its own and named weights alone."""
    record = read_record(root, stage, unit) or {}
    kept = {key: value for key, value in record.items() if key not in (SELF, NAME, "files", "format")}
    weights = {path: digest for path, digest in record.get("files", {}).items() if path.endswith("weights.safetensors")}
    facts = {**kept, **({"weights": weights} if weights else {}), **changed}
    record_path(root, stage, unit).write_text(json.dumps(facts, sort_keys=True, indent=1))
