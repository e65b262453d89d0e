"""Writing a file so that a reader sees the old one or the new one, never half, whatever is killed when."""

from __future__ import annotations

import os
from pathlib import Path

from storage.errors import disk_full_named


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a neighbour, flush to the disk, rename. Raises ``StorageError`` when the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_full_named(path), scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
