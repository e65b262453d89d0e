"""Where claims lie, as files: the few operations that a protocol between machines needs, and nothing else.

A claim of a unit is ``<root>/.claims/<stage>/<unit>/<generation>.claim``. An object store would serve as well:
``create`` is a put on the condition that there is no such object, ``renew`` one on the condition that it is still ours,
``newest`` a listing, and ``alone`` is not needed where the record itself is put on a condition.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from storage.errors import write_errors_named

FOLDER = ".claims"
GENERATION = re.compile(r"([1-9]\d*)\.claim")
GATE = "gate"  # of a unit: the file that is locked while the unit is published


class ClaimStore(Protocol):
    """Claims by the name of what is claimed. Generations of a name are 1, 2, 3, ..., and none is ever removed."""

    def newest(self, name: str) -> tuple[int, bytes] | None:
        """The latest generation and what it says; None before the first."""

    def create(self, name: str, generation: int, data: bytes) -> bool:
        """Make a generation, or return False if somebody has made it: of all who try, one succeeds."""

    def renew(self, name: str, generation: int, data: bytes) -> bool:
        """Replace what an own generation says by as many bytes. False if it is not there any more."""

    def alone(self, name: str) -> AbstractContextManager[None]:
        """Keep everybody else out of the same context until it is left or its process has died."""


class ClaimFiles:
    """Claims in the study's folder, which all machines see: a local file system, NFS or another shared one."""

    def __init__(self, root: str | Path) -> None:
        self._folder = Path(root) / FOLDER

    def newest(self, name: str) -> tuple[int, bytes] | None:
        """The latest generation, asked of the folder itself: opened anew, a folder of NFS is asked of the server."""
        try:
            names = [path.name for path in (self._folder / name).iterdir()]
        except FileNotFoundError:
            return None
        generation = max((int(found[1]) for found in map(GENERATION.fullmatch, names) if found), default=0)
        if not generation:
            return None
        try:
            return generation, self._path(name, generation).read_bytes()
        except OSError:
            return generation, b""  # not to be read now; that changes, or its lease ends

    def create(self, name: str, generation: int, data: bytes) -> bool:
        """Make a file that there must not be: the file system lets one of all who try succeed.

        Nothing is flushed to the disk: after a power cut nobody is there who holds a claim. Raises ``StorageError``.
        """
        path = self._path(name, generation)
        with write_errors_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                return False
            _write_and_close(descriptor, data)
        return True

    def renew(self, name: str, generation: int, data: bytes) -> bool:
        """Write in place: a file that was swept must not come back. Raises ``OSError``, as of a full disk."""
        try:
            descriptor = os.open(self._path(name, generation), os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        _write_and_close(descriptor, data)
        return True

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """A lock of the operating system's, which a death frees. Where there are none, the claim alone must do."""
        path = self._folder / name / GATE
        with write_errors_named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str, generation: int) -> Path:
        return self._folder / name / f"{generation}.claim"


def _write_and_close(descriptor: int, data: bytes) -> None:
    try:
        os.pwrite(descriptor, data, 0)
    finally:
        os.close(descriptor)  # NFS sends it to the server now


def forget_claims(root: str | Path) -> None:
    """Remove all claims of a study that nobody is at, as who holds its lock alone knows."""
    try:
        shutil.rmtree(Path(root) / FOLDER)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTEMPTY):
            raise
