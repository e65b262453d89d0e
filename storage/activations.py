"""The activation store: one sharded, checksummed Zarr v3 array per site, written a shard at a time.

Layout: ``activations.zarr/<block>/<t>/<conditioning>``, float16 [prompt, row, column, channel]. A Zarr shard holds
``shard_size`` prompts, so one task writes whole shard objects and two tasks never touch the same object. Opening a
store changes nothing; only ``create`` writes metadata, and only where there is no shard.
"""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from storage.atomic import sweep, write_atomic
from storage.errors import StorageError
from storage.site import AnySite, Site
from storage.store_documents import Compression, stored_compression, write_documents
from storage.store_metadata import (
    DOCUMENT,
    Document,
    NoStoreError,
    StoreFacts,
    read_documents,
    store_path,
    stored_bytes,
)
from storage.vouch import digest_of

EXPONENT, MAGNITUDE = 0x7C00, 0x7FFF  # of float16: with all bits of the exponent set it is infinite or no number


class ActivationStore:
    """Residual updates of every prompt at every site.

    Attributes: ``sites`` (in order), ``n_prompts``, ``shard_size``, ``n_shards``.
    """

    def __init__(self, path: Path, facts: StoreFacts, arrays: dict[Site, Document]) -> None:
        self.path, self.facts, self._documents = path, facts, arrays
        self.n_prompts, self.shard_size = facts.n_prompts, facts.shard_size
        self.sites: list[Site] = list(facts.shapes)
        self.n_shards = facts.n_shards

    @classmethod
    def create(
        cls,
        root: str | Path,
        shapes: dict[Site, tuple[int, int, int]],
        n_prompts: int,
        shard_size: int,
        compression: Compression = "none",
    ) -> ActivationStore:
        """Create the store, or open it if it is there with the same shapes; it then keeps its compression.

        Raises ``StorageError`` if the one that is there is of other sites or prompts, or holds shards and lacks
        metadata. Interrupted at any point it leaves no store, and the next call makes it.
        """
        facts = StoreFacts(shapes, n_prompts, shard_size)
        try:
            store = cls.open(root)
        except NoStoreError:
            write_documents(root, facts, compression)
            return cls.open(root)
        if store.facts != facts:
            raise StorageError(f"{store.path} was made for other sites or prompts: choose another --root")
        return store

    @classmethod
    def open(cls, root: str | Path) -> ActivationStore:
        """Open an existing store, to read it or to write shards. Nothing is changed by opening.

        Raises ``NoStoreError`` if there is none (or only a half-made one), ``StorageError`` if it lacks metadata.
        """
        return cls(store_path(root), *read_documents(root))

    def resized(self, n_prompts: int) -> ActivationStore:
        """The store for so many prompts: its metadata are written anew, the root's last, and no shard is touched.

        Until the root's are replaced, and after a kill, it is the store that it was.
        """
        if n_prompts == self.n_prompts:
            return self
        root, facts = self.path.parent, StoreFacts(self.facts.shapes, n_prompts, self.shard_size)
        write_documents(root, facts, stored_compression(self._documents.values()))
        return self.open(root)

    @functools.cached_property
    def _group(self) -> zarr.Group:
        return zarr.open_group(self.path, mode="r", zarr_format=3)

    def shape(self, site: AnySite) -> tuple[int, int, int]:
        """(rows, columns, channels) of a site. Raises ``StorageError`` for a site the store does not have."""
        if site not in self.facts.shapes:
            known = ", ".join(s.path for s in self.sites)
            raise StorageError(f"{self.path} has no site {Site(*site).path}: it has {known}")
        return self.facts.shapes[Site(*site)]

    def shard_range(self, shard: int) -> tuple[int, int]:
        """[start, stop) of the prompt ids of a shard; the last one may be short."""
        start = shard * self.shard_size
        return start, min(start + self.shard_size, self.n_prompts)

    def write_shard(self, site: AnySite, shard: int, array: np.ndarray) -> str:
        """Write [n, H, W, C], all prompts of the shard at once, and see it on the disk. Returns its SHA-256.

        Raises ``StorageError`` on another shape or on a value that float16 cannot hold (naming site and prompt).
        """
        start, stop = self.shard_range(shard)
        expected = (stop - start, *self.shape(site))
        if array.shape != expected:
            raise StorageError(f"shard {shard} of {Site(*site).path} must have shape {expected}, got {array.shape}")
        with np.errstate(over="ignore"):  # said below, by prompt
            halved = array.astype(np.float16, copy=False)
        finite = finite_prompts(halved)
        if not finite.all():
            raise StorageError(
                f"activations at {Site(*site).path} are not finite for prompt {start + int(np.argmin(finite))}: "
                "float16 overflows beyond 65504; check the model's dtype"
            )
        data = self._encoded(site, shard, halved)
        sweep([self.shard_file(site, shard).parent])
        write_atomic(self.shard_file(site, shard), data)
        return hashlib.sha256(data).hexdigest()

    def _encoded(self, site: AnySite, shard: int, array: np.ndarray) -> memoryview:
        """The bytes of a shard object: Zarr writes into memory, so that how a file is put on disk is ours to say.

        Chunks of zeros are written like others: an object that is not there is a loss, and must not mean zeros.
        """
        start, stop = self.shard_range(shard)
        made: dict[str, Any] = {DOCUMENT: Buffer.from_bytes(json.dumps(self._documents[Site(*site)]).encode())}
        target: Any = zarr.open_array(MemoryStore(made), mode="r+")
        target.with_config({"write_empty_chunks": True})[start:stop] = array
        return memoryview(made[f"c/{shard}/0/0/0"].as_buffer_like())

    def read(self, site: AnySite, start: int, stop: int) -> np.ndarray:
        """float16 [stop - start, H, W, C].

        Raises ``StorageError`` naming the site, and the shard or the prompts, where a shard is missing or damaged.
        """
        self.shape(site)
        stop = min(stop, self.n_prompts)
        for shard in range(start // self.shard_size, -(-stop // self.shard_size)):
            self._check_object(site, shard)
        array: Any = self._group[Site(*site).path]
        try:
            return np.asarray(array[start:stop])
        except (ValueError, RuntimeError, OSError) as error:
            raise StorageError(
                f"{self.path}/{Site(*site).path} is damaged in prompts {start} to {stop}: run `concepts verify`"
            ) from error

    def _check_object(self, site: AnySite, shard: int) -> None:
        """Zarr takes an object that is not there, or is empty, for zeros: ask for it first."""
        file, lengths = self.shard_file(site, shard), stored_bytes(self._documents[Site(*site)])
        if not file.is_file():
            state = "is missing" if not file.exists() else "is no file"
        elif file.stat().st_size not in lengths:
            state = f"has {file.stat().st_size} bytes, not the {lengths.start} that it should"
        else:
            return
        raise StorageError(
            f"shard {shard} of {Site(*site).path} {state} ({file}): run `concepts repair`, then `concepts run` to "
            "record it again"
        )

    def checksum(self, site: AnySite, shard: int) -> str:
        """SHA-256 of the stored shard object. Raises ``FileNotFoundError`` if it was never written."""
        return digest_of(self.shard_file(site, shard))

    def shard_file(self, site: AnySite, shard: int) -> Path:
        """The file of one shard object."""
        return self.path / Site(*site).path / "c" / str(shard) / "0" / "0" / "0"


def finite_prompts(array: np.ndarray) -> np.ndarray:
    """bool [n]: whether all values of each prompt of float16 [n, ...] are finite.

    By their bits, a prompt at a time: nine times as fast as ``isfinite`` (``benchmarks/by_hand.py``).
    """
    bits = array.view(np.uint16).reshape(len(array), -1)
    return np.array([not row.size or int((row & MAGNITUDE).max()) < EXPONENT for row in bits], bool)
