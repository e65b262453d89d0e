"""The errors that are for the user, and the system's refusal to write as one of them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AtlasError(ValueError):
    """Something that the user can put right: one sentence naming the file, the field and the remedy.

    The command line prints it and exits with code 2; a task is not tried again for it. Every room has its own below it.
    """


class StorageError(AtlasError):
    """Of what lies in a study folder, or is to be read into one."""


@contextmanager
def write_errors_named(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a sentence that says what is safe and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"disk full while writing {path}: free space and run the same command again; what was finished is kept"
            ) from error
        raise StorageError(
            f"cannot write {path} ({error.strerror or error}): make its folder writable or choose another --root"
        ) from error
