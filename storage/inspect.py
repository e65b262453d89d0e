"""What a study folder holds; whether it is whole is told by ``study.verify``."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.content import content_hash
from storage.errors import StorageError
from storage.records import whole_records
from storage.schemas import SCHEMAS
from storage.sizes import bytes_of_store
from storage.store_metadata import NoStoreError, read_documents, store_path
from storage.tables import OfStage, named_parts, parts, rows_of
from storage.vouch import REMEDY

PARQUET_END = b"PAR1"


def facts(root: str | Path) -> dict[str, Any]:
    """Counts and sizes: rows and bytes per table, the store, the SAEs, the pictures.

    What cannot be told of a damaged folder has a ``problem`` in its place; ``concepts verify`` looks closer.
    """
    root = Path(root)
    of_stage = functools.cache(functools.partial(whole_records, root))  # a stage writes several tables
    return {
        "tables": {table: _table_facts(root, table, of_stage) for table in SCHEMAS},
        "activations": _store_facts(root),
        "saes": len(list((root / "saes").rglob("k*/sae_weights.safetensors"))) if (root / "saes").exists() else 0,
        "figures": sorted(p.name for p in (root / "figures").glob("*.png")),
    }


def _table_facts(root: Path, table: str, of_stage: OfStage) -> dict[str, Any]:
    """Rows as the records tell them, parts and their bytes; ``problem`` says what is amiss, as far as a look tells."""
    try:
        files = named_parts(root, table, of_stage)
        rows = rows_of(files)
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
        store, _ = read_documents(root)  # and no ActivationStore: it would import Zarr
    except NoStoreError:
        return {"sites": 0, "shards": 0, "bytes": 0}
    except StorageError as error:
        return {"sites": 0, "shards": 0, "bytes": 0, "problem": str(error)}
    size = bytes_of_store(store_path(root), [site.path for site in store.shapes])
    return {"sites": len(store.shapes), "shards": store.n_shards, "prompts": store.n_prompts, "bytes": size}


def table_hashes(root: str | Path) -> dict[str, str]:
    """Content hash of every table that has rows. ``runs`` is left out: it holds times."""
    return {t: content_hash(root, t) for t in SCHEMAS if t != "runs" and parts(root, t)}
