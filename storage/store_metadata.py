"""What the Zarr metadata of an activation store say, and whether they are all there; ``store_documents`` makes them.

They are a function of (sites' shapes, prompts, shard size, compression) alone and hold no result, so a store without
shards can be made again at any time, and metadata that were lost are written anew beside shards that stay as they are.
The root's ``zarr.json`` carries copies of all others (Zarr's consolidated metadata) and is written last: with it, and
only with it, there is a store.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from storage import formats
from storage.errors import StorageError
from storage.site import Site

Shape = tuple[int, int, int]
Document = dict[str, Any]

DOCUMENT = "zarr.json"  # Zarr's name for a node's metadata
REPAIR = "run `concepts repair`, which writes the store's metadata anew and leaves its shards as they are"


class NoStoreError(StorageError):
    """There is no store, or one whose making was interrupted before it held anything."""


def store_path(root: str | Path) -> Path:
    """Folder of the store inside a study folder."""
    return Path(root) / "activations.zarr"


@dataclass(frozen=True)
class StoreFacts:
    """What the attributes of a store say: the sites with (rows, columns, channels), and how prompts are cut."""

    shapes: dict[Site, Shape]
    n_prompts: int
    shard_size: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", {Site(*site): shape for site, shape in self.shapes.items()})

    @classmethod
    def of(cls, attributes: Document) -> StoreFacts:
        """From attributes as they are stored. Raises ``KeyError``, ``TypeError`` or ``ValueError`` if they are none."""
        shapes: dict[Site, Shape] = {}
        for block, t, conditioning, (rows, columns, channels) in attributes["sites"]:
            shapes[Site(block, float(t), conditioning)] = int(rows), int(columns), int(channels)
        return cls(shapes, int(attributes["n_prompts"]), int(attributes["shard_size"]))

    @property
    def n_shards(self) -> int:
        """Shards at each site; the last may be short."""
        return -(-self.n_prompts // self.shard_size)

    def attributes(self) -> Document:
        """As they are stored, with the format's version."""
        sites = [[block, t, conditioning, list(shape)] for (block, t, conditioning), shape in self.shapes.items()]
        version = {formats.KEY: formats.STORE}
        return {**version, "n_prompts": self.n_prompts, "shard_size": self.shard_size, "sites": sites}


def document_files(root: str | Path, facts: StoreFacts) -> list[Path]:
    """Every metadata file of a store: its root's, each group's and each array's."""
    folders = {PurePosixPath(site.path) for site in facts.shapes}
    folders |= {above for folder in list(folders) for above in folder.parents}
    return sorted(store_path(root) / folder / DOCUMENT for folder in folders)


def read_documents(root: str | Path) -> tuple[StoreFacts, dict[Site, Document]]:
    """What a store is, and the metadata of each site's array, after checking that no file of them is missing.

    Raises ``NoStoreError`` if there is no store or only one half made, without a shard; ``StorageError`` if metadata of
    a store with shards are missing, or do not agree with one another, naming the file; or if the store was written by
    a newer version.
    """
    path = store_path(root)
    try:
        return _checked(path)
    except _Damage as damage:
        if any(shard_files(path)):
            raise StorageError(f"{damage}: {REPAIR}") from damage
        raise NoStoreError(f"there is no activation store at {path}: run `concepts collect` to make it") from damage


def shard_files(folder: Path) -> Iterator[Path]:
    """Files below a folder that may hold activations: all but metadata and the scratch files of interrupted writes."""
    for parent, _, names in os.walk(folder):
        yield from (Path(parent) / name for name in sorted(names) if name != DOCUMENT and not _is_scratch(name))


def _is_scratch(name: str) -> bool:
    return name.endswith((".tmp", ".partial")) or name == ".DS_Store"


class _Damage(Exception):
    """What is missing or contradicts itself, as the beginning of a sentence."""


def _checked(path: Path) -> tuple[StoreFacts, dict[Site, Document]]:
    root = _read(path / DOCUMENT)
    attributes, copies = root.get("attributes"), (root.get("consolidated_metadata") or {}).get("metadata")
    if not isinstance(attributes, dict) or not isinstance(copies, dict):
        raise _Damage(f"{path / DOCUMENT} lacks its attributes or the copies of the other metadata")
    formats.format_of(attributes.get(formats.KEY), formats.STORE, path / DOCUMENT)
    try:
        facts = StoreFacts.of(attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise _Damage(f"{path / DOCUMENT} does not say which sites and prompts the store holds") from error
    for key, copy in copies.items():
        if not isinstance(copy, dict):
            raise _Damage(f"{path / DOCUMENT} has no copy of {path / key / DOCUMENT}")
        copied = {name: copy[name] for name in copy if name != "consolidated_metadata"}
        if _but_for_length(_read(path / key / DOCUMENT)) != _but_for_length(copied):
            raise _Damage(f"{path / key / DOCUMENT} is not what {path / DOCUMENT} has a copy of")
    arrays = {key for key, copy in copies.items() if copy.get("node_type") == "array"}
    if arrays != {site.path for site in facts.shapes}:
        raise _Damage(f"the sites that {path / DOCUMENT} lists are not those it has copies of")
    of_sites = {site: copies[site.path] for site in facts.shapes}
    for site, document in of_sites.items():
        if not _agrees(document, facts, facts.shapes[site]):
            raise _Damage(f"{path / site.path / DOCUMENT} has another shape than {path / DOCUMENT} says")
    return facts, of_sites


def _but_for_length(document: Document) -> Document:
    """Without the number of prompts: a store that is being resized has it in its arrays first, and in its root last."""
    shape = document.get("shape")
    return {**document, "shape": shape[1:]} if isinstance(shape, list) else document


def _agrees(found: Document, facts: StoreFacts, shape: Shape) -> bool:
    try:
        cut = found["chunk_grid"]["configuration"]["chunk_shape"]
        return (found["shape"], cut) == ([facts.n_prompts, *shape], [facts.shard_size, *shape])
    except (KeyError, TypeError):
        return False


def _read(file: Path) -> Document:
    try:
        document = json.loads(file.read_bytes())
    except OSError as error:
        raise _Damage(f"{file} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _Damage(f"{file} is damaged ({error})") from error
    if not isinstance(document, dict):
        raise _Damage(f"{file} is damaged (it holds no metadata)")
    return document


def stored_bytes(array: Document) -> range:
    """The lengths that a shard object of an array may have, from its metadata: one only, unless it is compressed."""
    sharding = array["codecs"][0]["configuration"]
    size, inner = array["chunk_grid"]["configuration"]["chunk_shape"], sharding["chunk_shape"]
    chunks, checksum = math.prod(size) // math.prod(inner), 4
    index = chunks * 16 + checksum  # an offset and a length for each chunk
    if [codec["name"] for codec in sharding["codecs"]] != ["bytes", "crc32c"]:
        return range(index, sys.maxsize)
    exact = chunks * (2 * math.prod(inner) + checksum) + index
    return range(exact, exact + 1)
