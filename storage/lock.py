"""One writer per study folder, or several who share it: a lock that the operating system takes from who dies.

The lock is ``flock`` on ``<root>/.lock``; the file's text only says who holds it. A process that holds it may take it
again, in any of its threads. Processes that it starts (Dask's workers) write for it and take no lock. On a network file
system the lock is as good as that system's ``flock``: NFS carries it between hosts, and frees a dead host's lock when
its lease ends (NFS 4) or when the host is up again (NFS 3).

Those who share hold the lock together, each one's units kept apart by claims (``claims.py``), and keep out whoever
writes alone. Who holds it alone, as the last of those who shared does on leaving, removes what dead processes left:
files that were not finished, and claims.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from storage.atomic import SWEPT, sweep
from storage.claim_files import forget_claims
from storage.errors import StorageError, write_errors_named

NAME = ".lock"
POLL_SECONDS = 0.5
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@dataclass
class _Held:
    descriptor: int
    times: int
    shared: bool


_held: dict[str, _Held] = {}  # of this process, by the folder's real path
_guard = threading.RLock()


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")


@contextmanager
def writing(
    root: str | Path, command: str, wait: float = 0, say: Callable[[str], None] = _to_stderr, share: bool = False
) -> Iterator[None]:
    """Hold the folder, made if need be, as its only writer or, with ``share``, as one of those who share it.

    ``command`` tells others what the holder does. A process that holds the folder either way is let in again.

    Another process' lock is waited for up to ``wait`` seconds, of which ``say`` is told. Raises ``StorageError`` that
    names the holder, or for a folder that cannot be written.
    """
    key = _take(Path(root), command, wait, say, share)
    try:
        yield
    finally:
        _give_back(key)


def _take(root: Path, command: str, wait: float, say: Callable[[str], None], share: bool) -> str:
    end, said = time.monotonic() + wait, False
    while True:
        with _guard:
            key = os.path.realpath(root)
            if key in _held:
                _held[key].times += 1
                return key
            if _try(root, key, command, share):
                if not share:
                    sweep(root / name for name in SWEPT)
                return key
        if time.monotonic() >= end:
            raise StorageError(
                f"{root} is being written by {_holder(root / NAME)}: wait for it to end, or give --wait to have this "
                "command wait for it"
            )
        if not said:
            say(f"waiting for {_holder(root / NAME)} to end")
            said = True
        time.sleep(max(0.0, min(POLL_SECONDS, end - time.monotonic())))


def _try(root: Path, key: str, command: str, share: bool) -> bool:
    path = root / NAME
    with write_errors_named(path):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if share else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise StorageError(f"{path} cannot be locked ({error.strerror}): choose another --root") from error
        sys.stderr.write(f"{root}: its file system has no locks: see to it that one command at a time writes there\n")
    else:
        if not share:
            forget_claims(root)
    _say(descriptor, command)
    _held[key] = _Held(descriptor, 1, share)
    return True


def _say(descriptor: int, command: str) -> None:
    facts = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(facts).encode(), 0)
    except OSError:
        pass  # a full disk: the lock holds without a name, and what cannot be written next says so itself


def _holder(path: Path) -> str:
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
        return f"`{facts['command']}` (process {facts['pid']} on {facts['host']}, since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # which has not said yet who it is


def _give_back(key: str) -> None:
    with _guard:
        held = _held.get(key)
        if held is None:
            return  # a forked child: the lock is its parent's
        held.times -= 1
        if not held.times:
            del _held[key]
            if held.shared:
                _tidy_if_last(Path(key), held.descriptor)
            os.close(held.descriptor)


def _tidy_if_last(root: Path, descriptor: int) -> None:
    with suppress(OSError):  # others are there, or there are no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep(root / name for name in SWEPT)
        forget_claims(root)


def _forget_in_child() -> None:
    """A forked child has its parent's descriptors; open there, they would hold the lock beyond the parent's death."""
    global _guard
    _guard = threading.RLock()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)
