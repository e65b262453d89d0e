"""Making the Zarr metadata of an activation store: for a new one, or for shards whose metadata were lost."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from storage.atomic import write_atomic
from storage.site import Site
from storage.store_metadata import DOCUMENT, Document, Shape, StoreFacts, shard_files, store_path, stored_bytes

Compression = Literal["none", "zstd"]
CHUNK_BYTES = 2 << 20  # an inner chunk of about 2 MiB: small enough to read a few prompts, large enough to compress
DIMENSIONS = ("prompt", "row", "column", "channel")


def make_documents(facts: StoreFacts, compression: Compression) -> dict[str, bytes]:
    """Path below the store -> the bytes of every metadata file, the root's last."""
    made: dict[str, Any] = {}
    memory = MemoryStore(made)
    group = zarr.open_group(memory, mode="w", zarr_format=3)
    for site, shape in facts.shapes.items():
        _create_array(group, site, shape, facts, compression)
    group.attrs.update(facts.attributes())
    with warnings.catch_warnings():
        # Zarr 3 reads its own consolidated metadata; the warning is about other implementations.
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(memory)
    documents = {name: made[name].to_bytes() for name in sorted(made)}
    return {**{name: data for name, data in documents.items() if name != DOCUMENT}, DOCUMENT: documents[DOCUMENT]}


def _create_array(group: zarr.Group, site: Site, shape: Shape, facts: StoreFacts, compression: Compression) -> None:
    per_prompt, size = 2 * int(np.prod(shape)), facts.shard_size
    # The inner chunk has to divide the shard.
    wanted = max(1, min(size, CHUNK_BYTES // per_prompt))
    prompts_per_chunk = max(n for n in range(1, wanted + 1) if size % n == 0)
    group.create_array(
        site.path,
        shape=(facts.n_prompts, *shape),
        dtype="float16",
        chunks=(prompts_per_chunk, *shape),
        shards=(size, *shape),
        compressors=[ZstdCodec(level=1), Crc32cCodec()] if compression == "zstd" else [Crc32cCodec()],
        dimension_names=DIMENSIONS,
        fill_value=0.0,
    )


def stored_compression(arrays: Iterable[Document]) -> Compression:
    """How the shards of a store are compressed, as the metadata of its arrays say."""
    inner = (codec["name"] for array in arrays for codec in array["codecs"][0]["configuration"]["codecs"])
    return "zstd" if "zstd" in inner else "none"


def write_documents(root: str | Path, facts: StoreFacts, compression: Compression) -> None:
    """Write every metadata file of a store, each atomically, and nothing else: shards are not touched."""
    for name, data in make_documents(facts, compression).items():
        write_atomic(store_path(root) / name, data)


def rewrite_metadata(root: str | Path, facts: StoreFacts, fallback: Compression = "none") -> None:
    """Write a store's metadata anew beside the shards it holds, in the compression in which these were written.

    ``facts`` is what the study's configuration and model give; ``fallback`` counts for a store without a shard.
    """
    write_documents(root, facts, compression_of(root, facts) or fallback)


def compression_of(root: str | Path, facts: StoreFacts) -> Compression | None:
    """How the shards of a store are compressed, told from a shard itself; None if there is no shard.

    Without compression all shards of a site have one length, which no compressed one has; one may be cut short.
    """
    plain = make_documents(facts, "none")
    compression: Compression | None = None
    for key in (site.path for site in facts.shapes):
        lengths = stored_bytes(json.loads(plain[f"{key}/{DOCUMENT}"]))
        for file in shard_files(store_path(root) / key):
            if file.stat().st_size in lengths:
                return "none"
            compression = "zstd"
    return compression
