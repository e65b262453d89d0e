"""Writing a file so that a reader sees the old one or the new one, never half, whatever is killed when."""

from __future__ import annotations

import os
from pathlib import Path

from storage.errors import write_errors_named


def write_atomic(path: Path, data: bytes) -> None:
    """Write to a neighbour, flush to the disk, rename. Raises ``StorageError`` when it cannot."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with write_errors_named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
