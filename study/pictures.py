"""Putting a picture into a study: whole, and with the record that vouches for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from storage.atomic import scratch_of, write_atomic
from storage.claims import confirm_present
from storage.errors import write_errors_named
from storage.publish import publish_unit
from storage.records import forget_record


def put_picture(root: str | Path, stage: str, path: Path, config_hash: str, draw: Callable[[Path], object]) -> None:
    """Have ``draw`` write a PNG, put it at ``path`` whole, then write the record that vouches for it.

    Raises ``StorageError`` where the system refuses to write; what was there then stays, with its record.
    """
    scratch = scratch_of(path)
    with write_errors_named(path):
        try:
            draw(scratch)
            picture = scratch.read_bytes()
        finally:
            scratch.unlink(missing_ok=True)
    confirm_present()
    forget_record(root, stage, path.stem)
    write_atomic(path, picture)
    publish_unit(root, stage, path.stem, {}, path.stem, config_hash, [path])
