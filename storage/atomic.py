"""Writing a file so that a reader sees the old one or the new one, never half, whatever is killed when."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from storage.errors import write_errors_named


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write to a neighbour, flush to the disk, rename, flush the folder. Raises ``StorageError`` when it cannot.

    When it returns the file would outlast a power cut: a record written next never vouches for what is not there.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with write_errors_named(path):
        made = _make_folder(path.parent)
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
        for folder in (path.parent, *made):
            _flush_folder(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder with those above it. Returns the folders that were given a new entry, from the bottom up."""
    levels = zip((folder, *folder.parents), folder.parents, strict=False)
    above = [parent for level, parent in levels if not level.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return above


def _flush_folder(folder: Path) -> None:
    """Put a folder's list of names on the disk, where the system can: not all can, and none says a name is lost."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
