"""Digests: what a completion record says of a file, and checking a file against it when it is opened for use.

A file is hashed once in a process for as long as it stays the same file (size, modification time and inode): a part
that is read a thousand times is hashed once. What changes on the disk without a trace of that is left to the Parquet
pages' own checksums.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from storage.errors import StorageError

REMEDY = "run `concepts repair` on the study, then run it again"
Stamp = tuple[int, int, int]

_known: dict[str, tuple[Stamp, str]] = {}  # path -> its stamp when it was hashed, and the digest: 200 bytes a file
_lock = threading.Lock()


def digest_of_bytes(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file in hex, read a little at a time. Raises ``OSError`` if it cannot be read."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stamp_of(path: str | Path) -> Stamp:
    """What changes when a file is replaced or written to. Raises ``OSError`` if it is not there."""
    stat = os.stat(path)  # noqa: PTH116 - asked of every record and part
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def check(path: str | Path, digest: str) -> None:
    """Raise ``StorageError`` if the file is missing, cannot be read or is not the one that ``digest`` was taken of."""
    try:
        taken = cached_digest(path)
    except OSError as error:
        raise unreadable(path, error) from error
    if taken != digest:
        raise StorageError(f"{path} is damaged (its checksum is not the recorded one): {REMEDY}")


def unreadable(path: str | Path, error: OSError) -> StorageError:
    """The sentence for a file that a record names and that cannot be read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return StorageError(f"{path} is missing, though its record says that it was written: {REMEDY}")
    return StorageError(f"{path} cannot be read ({error.strerror or error}): make it readable, or {REMEDY}")


def vouched_files(record: Mapping[str, Any]) -> dict[str, str]:
    """Path below the root -> SHA-256 of every file that a record names besides its table parts.

    Records of the first format called them ``weights`` and named nothing else.
    """
    return {**record.get("weights", {}), **record.get("files", {})}


def cached_digest(path: str | Path) -> str:
    """SHA-256 of a file in hex, taken once for as long as it stays the same file. Raises ``OSError``."""
    stamp, key = stamp_of(path), str(path)
    with _lock:
        known = _known.get(key)
    if known is not None and known[0] == stamp:
        return known[1]
    digest = digest_of(path)
    with _lock:
        _known[key] = (stamp, digest)
    return digest


def hash_ahead(paths: Iterable[Path], most_bytes: int) -> int:
    """Take digests of files that are about to be opened, while they have less than ``most_bytes`` in all.

    Returns their bytes. A file that cannot be read is passed over: who opens it is told.
    """
    done = 0
    for path in paths:
        with suppress(OSError):
            size = path.stat().st_size
            if done + size > most_bytes:
                break
            cached_digest(path)
            done += size
    return done
