"""What the command line says at its end of an error that the user, or the machine's owner, can put right."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from storage.errors import AtlasError
from storage.text import printable, without_secrets

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)
KEPT = "finished units are kept: run the same command again"
OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError", "ArrowMemoryError", "_ArrayMemoryError")


def sentence_of(error: BaseException) -> str | None:
    """One line for an error that is no fault of the program's: ours, and the machine's limits; None for any other."""
    if isinstance(error, AtlasError):
        return printable(without_secrets(" ".join(str(error).splitlines())))
    if isinstance(error, OSError):
        return None if (said := _of_system(error)) is None else printable(said)
    if type(error).__name__ in OUT_OF_MEMORY or "can't allocate memory" in str(error):
        return f"out of memory: lower sampling.batch_size, prompts.shard_size or run.max_workers; {KEPT}"
    return None


def _of_system(error: OSError) -> str | None:
    place = f" {_where(error)}" if error.filename else " a file"
    if error.errno in FULL:
        return f"disk full while writing{place}: free space; {KEPT}"
    if error.errno == errno.EIO:
        return f"the disk of{place} fails (input/output error): see to it; {KEPT}"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"too many open files ({error.strerror}): raise the limit (`ulimit -n`) or lower run.max_workers; {KEPT}"
    if error.errno in REFUSED and error.filename:
        return f"{_where(error)} cannot be used ({error.strerror}): give it the right permissions, or choose another"
    return None


def _where(error: OSError) -> str:
    name: Any = error.filename2 or error.filename
    return str(Path(name.decode(errors="replace") if isinstance(name, bytes) else str(name)))
