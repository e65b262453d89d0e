"""Writing a file so that a reader sees the old one or the new one, never half, whatever is killed when."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from storage.errors import write_errors_named

# What `write_atomic` and its like call a file until it is whole; earlier versions left the process out for some.
SCRATCH = re.compile(
    r"\..+\.(?P<process>\d+)\.tmp|\.((sae_weights|statistics|step-\d+)\.safetensors|(cfg|checkpoint)\.json|log\.jsonl)\.tmp"
)
SWEPT = ("done", "tables", "saes", "figures")  # a shard's own folder is swept when the shard is written


def scratch_of(path: Path) -> Path:
    """A neighbour under whose name a file is written until it is whole: another each time.

    Processes of two machines that share a folder may have one number.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{os.getpid()}.tmp")


def sweep(folders: Iterable[Path]) -> None:
    """Remove scratch files of processes that are gone below folders. For the one writer of a study, no reader.

    What cannot be removed stays: it is in nobody's way, and what is written next says whether the folder can be.
    """
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                match = SCRATCH.fullmatch(name)
                if match and not _runs(match["process"]):
                    with suppress(OSError):
                        Path(parent, name).unlink()


def _runs(process: str | None) -> bool:
    if process is None:
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # of another user, or no number of a process: not ours to tell
    return True


def write_atomic(path: Path, data: bytes | memoryview) -> None:
    """Write to a neighbour, flush to the disk, rename, flush the folder. Raises ``StorageError`` when it cannot.

    When it returns the file would outlast a power cut: a record written next never vouches for what is not there.
    """
    scratch = scratch_of(path)
    with write_errors_named(path):
        made = _make_folder(path.parent)
        try:
            with scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
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
