"""Studies, and parts that a record names, for tests that fill a folder by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from storage.records import NAME, SELF, read_record, record_path, write_record
from storage.schemas import WRITERS
from storage.study import check_study, config_hash, create_study
from storage.tables import part_path, store_part


def open_study(root: str | Path, config: dict[str, Any], provenance: dict[str, Any], **more: Any) -> str:
    """Make a folder a study, or check that it is one of these settings. Returns the configuration's hash."""
    if not check_study(root, config, **more):
        create_study(root, config, provenance, **more)
    return config_hash(config, **more)


def add_part(root: str | Path, table: str, part: str, rows: Any, unit: str | None = None) -> Path:
    """Write a part, and name it in the record of its stage's unit, besides the parts that the record names already."""
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


def label_row(cid: int, iou_selection: float, **more: Any) -> dict[str, Any]:
    """A row of ``concept_labels`` that our rule assigns; whatever is given replaces what it has."""
    row = {
        "block": "mid", "t": 1.0, "conditioning": "cond", "k": 4, "kind": "trained", "cid": cid, "label": "tree",
        "iou": 0.3, "iou_se": 0.02, "iou_selection": iou_selection, "iou_heldout": 0.3, "iou_heldout_se": 0.03,
        "iou_copresent": 0.3, "precision": 0.3, "precision_heldout": 0.3, "recall": 0.3, "lift": 5.0,
        "lift_selection": 5.0, "n_co": 9, "n_co_selection": 5, "n_hit50": 3, "ceiling": 0.8, "p_value": 1e-9,
        "q_value": 1e-8, "assigned": True, "paper_assigned": True,
    }  # fmt: skip
    return row | more
