"""The error this room raises for something the user can put right."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class StorageError(ValueError):
    """One sentence naming the file, the field and the remedy."""

    user_error = True


@contextmanager
def write_errors_named(path: str | Path) -> Iterator[None]:
    """Turn the operating system's refusal to write into a sentence that says what is safe and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageError(
                f"disk full while writing {path}: free space and run the same command again; finished shards are kept"
            ) from error
        raise StorageError(
            f"cannot write {path} ({error.strerror or error}): make its folder writable or choose another --root"
        ) from error
