"""What a study folder holds; whether it is whole is told by ``tasks.verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.activations import ActivationStore
from storage.content import content_hash
from storage.records import missing, records
from storage.schemas import SCHEMAS
from storage.store_metadata import NoStoreError, store_path
from storage.study import read_study
from storage.tables import count_rows, parts

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
    return {"rows": count_rows(root, table), "parts": len(files), "bytes": sum(_size(f) for f in files)}


def _size(file: Path) -> int:
    """Of a part; none of one that is missing, which ``concepts verify`` says."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


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
        "draw": 1,
    }
