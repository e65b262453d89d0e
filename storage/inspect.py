"""What a study folder holds, and whether it is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError, safe_open

from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.records import missing, read_record, records
from storage.schemas import SCHEMAS
from storage.store_metadata import NoStoreError, Site, store_path
from storage.study import read_study
from storage.tables import content_hash, count_rows, parts
from storage.vouch import vouched_files

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
)
OPTIONAL = ("bench", "figures", "cards")  # no stages of `concepts run`; pictures have records, too


def status(root: str | Path, hashes: dict[str, str] | None = None) -> dict[str, Any]:
    """Counts and sizes: records done per stage, rows, bytes and content hash per table, the store, the SAEs.

    With ``hashes`` (stage -> hash) records of former settings are not counted, nor are damaged ones.
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
    files = parts(root, table)
    return {"rows": count_rows(root, table), "parts": len(files), "bytes": sum(f.stat().st_size for f in files)}


def _store_facts(root: Path) -> dict[str, Any]:
    try:
        store = ActivationStore.open(root)
    except NoStoreError:
        return {"sites": 0, "shards": 0, "bytes": 0}
    size = sum(f.stat().st_size for f in store_path(root).rglob("*") if f.is_file())
    return {"sites": len(store.sites), "shards": store.n_shards, "prompts": store.n_prompts, "bytes": size}


def table_hashes(root: str | Path) -> dict[str, str]:
    """Content hash of every table that has rows. ``runs`` is left out: it holds times."""
    return {t: content_hash(root, t) for t in SCHEMAS if t != "runs" and parts(root, t)}


def verify(root: str | Path) -> list[str]:
    """Every problem found: shard objects, weight files and table parts against their records. Empty when whole."""
    root = Path(root)
    read_study(root)
    problems: list[str] = []
    for stage in STAGES + OPTIONAL:
        for unit in records(root, stage):
            problems += _verify_unit(root, stage, unit)
    return problems + list(_verify_schemas(root)) + list(_verify_weights(root))


def _verify_unit(root: Path, stage: str, unit: str) -> Iterator[str]:
    record = read_record(root, stage, unit)
    if record is None:
        yield f"done/{stage}/{unit}.json cannot be read: delete it and run the study again"
        return
    for table, facts in record.get("tables", {}).items():
        path = root / "tables" / table / f"{facts['part']}.parquet"
        yield from _verify_file(path, facts["sha256"], root)
    for key, digest in record.get("checksums", {}).items():
        block, t, conditioning = key.split("/")
        yield from _verify_file(_shard_file(root, (block, float(t), conditioning), int(unit)), digest, root)
    for name, digest in vouched_files(record).items():
        yield from _verify_file(root / name, digest, root)


def _shard_file(root: Path, site: Site, shard: int) -> Path:
    try:
        return ActivationStore.open(root).shard_file(site, shard)
    except StorageError:
        return store_path(root) / "zarr.json"


def _verify_file(path: Path, digest: str, root: Path) -> Iterator[str]:
    name = path.relative_to(root)
    if not path.exists():
        yield f"{name} is missing"
    elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        yield f"{name} is damaged: its checksum is not the recorded one"


def _verify_schemas(root: Path) -> Iterator[str]:
    for table, schema in SCHEMAS.items():
        for file in parts(root, table):
            try:
                found = pq.read_schema(file)
            except (pa.ArrowInvalid, OSError) as error:
                yield f"{file.relative_to(root)} cannot be read: {error}"
                continue
            if not found.equals(schema):
                yield f"{file.relative_to(root)} does not have the schema of table {table!r}"


def _verify_weights(root: Path) -> Iterator[str]:
    for path in sorted((root / "saes").rglob("sae_weights.safetensors")):
        name = path.relative_to(root)
        try:
            config = json.loads((path.parent / "cfg.json").read_text(encoding="utf-8"))
            with safe_open(path, "pt") as file:
                shape = tuple(file.get_slice("W_dec").get_shape())
        except (OSError, ValueError, SafetensorError) as error:
            yield f"{name} cannot be read: {error}"
            continue
        if shape != (config["d_sae"], config["d_in"]):
            yield f"{name}: W_dec is {shape}, cfg.json says {(config['d_sae'], config['d_in'])}"


def expected_units(root: str | Path) -> dict[str, int]:
    """How many records each stage will have when it is complete, from the configuration alone."""
    config = read_study(root)["config"]
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
    }
