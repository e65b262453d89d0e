"""What a study folder holds; whether it is whole is told by ``study.verify``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.activations import ActivationStore
from storage.content import content_hash
from storage.errors import StorageError
from storage.records import missing, records
from storage.schemas import SCHEMAS
from storage.store_metadata import NoStoreError, store_path
from storage.study import read_study
from storage.tables import count_rows, parts
from storage.vouch import REMEDY

STAGES = (
    "plan",
    "collect",
    "train",
    "share",
    "match",
    "tag",
    "detect",
    "segment",
    "areas",
    "label",
    "layout",
    "calibrate",
    "intervene",
    "effects",
    "draw",
)
PARQUET_END = b"PAR1"
OPTIONAL = ("bench", "figures", "cards")  # no stages of `concepts run`; pictures have records, too


def status(root: str | Path, hashes: dict[str, str] | None = None) -> dict[str, Any]:
    """Counts and sizes: records done per stage, rows and bytes per table, the store, the SAEs.

    With ``hashes`` (stage -> hash) records of former settings are not counted, nor are damaged ones. What cannot be
    told of a damaged folder has a ``problem`` in its place; ``concepts verify`` looks closer.
    """
    root = Path(root)
    study = read_study(root)
    return {
        "config_hash": study["config_hash"],
        "name": study["config"].get("name"),
        "done": {stage: _done(root, stage, hashes, study["config_hash"]) for stage in STAGES},
        "tables": {table: _table_facts(root, table) for table in SCHEMAS},
        "activations": _store_facts(root),
        "saes": len(list((root / "saes").rglob("k*/sae_weights.safetensors"))) if (root / "saes").exists() else 0,
        "figures": sorted(p.name for p in (root / "figures").glob("*.png")),
    }


def _done(root: Path, stage: str, hashes: dict[str, str] | None, config_hash: str) -> int:
    units = records(root, stage)
    if hashes is None:
        return len(units)
    return len(units) - len(missing(root, stage, units, hashes[stage], config_hash))


def _table_facts(root: Path, table: str) -> dict[str, Any]:
    """Rows as the records tell them, parts and their bytes; ``problem`` says what is amiss, as far as a look tells."""
    try:
        files = parts(root, table)
        rows = count_rows(root, table)
    except StorageError as error:
        return {"rows": 0, "parts": 0, "bytes": 0, "problem": str(error)}
    except (pa.ArrowInvalid, OSError, AttributeError, KeyError, TypeError):  # of a folder before records had digests
        return {"rows": 0, "parts": 0, "bytes": 0, "problem": f"it cannot be counted: {REMEDY}"}
    facts: dict[str, Any] = {"rows": rows, "parts": len(files), "bytes": sum(map(_size, files))}
    damaged = sum(not _looks_whole(file) for file in files)
    if damaged:
        facts["problem"] = f"{damaged} of {len(files)} parts missing or cut short: {REMEDY}"
    return facts


def _size(file: Path) -> int:
    """Bytes of a file, none of one that is not there: a run may be at work."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _looks_whole(file: Path) -> bool:
    """Whether a Parquet file has its end, which says nothing about the middle."""
    try:
        with file.open("rb") as opened:
            opened.seek(-len(PARQUET_END), os.SEEK_END)
            return opened.read() == PARQUET_END
    except OSError:
        return False


def _store_facts(root: Path) -> dict[str, Any]:
    try:
        store = ActivationStore.open(root)
    except NoStoreError:
        return {"sites": 0, "shards": 0, "bytes": 0}
    except StorageError as error:
        return {"sites": 0, "shards": 0, "bytes": 0, "problem": str(error)}
    size = sum(_size(f) for f in store_path(root).rglob("*") if f.is_file())
    return {"sites": len(store.sites), "shards": store.n_shards, "prompts": store.n_prompts, "bytes": size}


def table_hashes(root: str | Path) -> dict[str, str]:
    """Content hash of every table that has rows. ``runs`` is left out: it holds times."""
    return {t: content_hash(root, t) for t in SCHEMAS if t != "runs" and parts(root, t)}


def expected_units(root: str | Path) -> dict[str, int]:
    """How many records each stage will have when it is complete, from the configuration alone.

    Raises ``StorageError`` if study.yaml lacks settings, as one may that is from before it had a checksum.
    """
    try:
        study = read_study(root)
        if "config_hash" not in study:
            raise KeyError("config_hash")
        return _expected(study["config"])
    except (KeyError, TypeError, AttributeError, ZeroDivisionError, ValueError) as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{Path(root) / 'study.yaml'} is damaged (a setting is lost): {REMEDY}") from error


def _expected(config: dict[str, Any]) -> dict[str, int]:
    splits, size = config["prompts"]["splits"], config["prompts"]["shard_size"]
    bounds, start = {}, 0
    for name, count in splits.items():
        bounds[name] = (start, start + count)
        start += count
    sites = config["sites"]
    series, ks = len(sites["blocks"]) * len(sites["conditionings"]), len(config["sae"]["k"])
    saes = series * len(sites["times"]) * ks
    segmented = {i // size for name in ("dictionary", "layout") for i in range(*bounds[name])}
    edits = config["interventions"]
    kinds = (("objects", "spatial_strengths"), ("styles", "global_strengths"))
    calibrated = sum(bool(edits[targets]) and len(edits[strengths]) > 1 for targets, strengths in kinds)
    return {
        "plan": 1,
        "collect": -(-start // size),
        "train": saes,
        "share": series if config["sae"]["across_time"] else 0,
        "match": series * ks,
        "tag": len(segmented),
        "detect": len(segmented),
        "segment": len(segmented),
        "areas": len(segmented),
        "label": saes,
        "layout": saes,
        "calibrate": calibrated * len(edits["windows"]),
        "intervene": (len(edits["objects"]) + len(edits["styles"])) * len(edits["windows"]),
        "effects": 1,
        "draw": 1,
    }
