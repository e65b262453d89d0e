"""Claims: how several processes, on one machine or on several, share the units of a study without doing one twice.

DESIGN.md of this room tells the protocol and what it promises. In short: a claim is a numbered generation, and a unit
is its claimant's who made the latest one. The claimant counts up in it as long as it lives. Who sees the same count for
a whole lease, by its own clock that no one can set, makes the next generation; the one before has lost the unit and
notices.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from storage.claim_files import ClaimFiles, ClaimStore
from storage.errors import StorageError

RENEWALS = 3  # in each lease: two may be late before anybody takes the claimant for dead
HELD, FREE = "held", "free"  # of one length, as all that a claim says stays as long as it was
LONGEST_WAIT_S = 1.0


class ClaimLost(StorageError):
    """The claim was not renewed in time, and somebody else has the unit now."""


@dataclass(frozen=True)
class Claim:
    """A generation of a unit's claims that this process, or the one that gave us the work, has made."""

    root: str
    name: str
    generation: int
    token: str


@dataclass(frozen=True)
class _Seen:
    """What the latest generation said when it was first seen to say so, and when that was by our own clock."""

    generation: int
    data: bytes
    at: float


class Claimant:
    """Who takes units of a study. A context: while it is open a thread renews the claims, and its end frees them."""

    def __init__(
        self,
        root: str | Path,
        lease: float,
        command: str = "",
        store: ClaimStore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``lease``: seconds without a renewal after which others may take a unit over."""
        self.root, self.lease = str(root), lease
        self._facts = {"host": socket.gethostname(), "pid": os.getpid(), "command": command, "lease": lease}
        self._store = store or ClaimFiles(root)
        self._clock = clock
        self._counts: dict[Claim, int] = {}
        self._seen: dict[str, _Seen] = {}
        self._lock, self._over = threading.Lock(), threading.Event()

    def __enter__(self) -> Self:
        self._over.clear()
        self._thread = threading.Thread(target=self._keep_renewing, name="claims", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join(LONGEST_WAIT_S)
        self.free_all()

    def take(self, name: str) -> Claim | None:
        """Claim what ``name`` names, if it is free or its claimant has been silent for its lease; None if not.

        The clock is read before the claim and compared with one that was read after it: however long this process
        stands still between two of its steps, no claim looks older to it than it is.
        """
        now = self._clock()
        newest = self._store.newest(name)
        if newest is not None and self._is_held(name, *newest, now):
            return None
        generation = newest[0] + 1 if newest else 1
        claim = Claim(self.root, name, generation, secrets.token_hex(8))
        if not self._store.create(name, generation, self._text(claim, 0)):
            return None
        self._seen.pop(name, None)
        with self._lock:
            self._counts[claim] = 0
        return claim

    def _is_held(self, name: str, generation: int, data: bytes, now: float) -> bool:
        said = _parsed(data)
        if said.get("state") == FREE:
            return False
        seen = self._seen.get(name)
        if seen is None or (seen.generation, seen.data) != (generation, data):
            self._seen[name] = _Seen(generation, data, self._clock())
            return True
        return now - seen.at <= said.get("lease", self.lease)

    def renew(self) -> None:
        """Count up in every claim that is held, and let go of those that somebody has taken over."""
        with self._lock:
            held = list(self._counts)
        for claim in held:
            with self._lock:
                if claim not in self._counts:
                    continue
                count = self._counts[claim] = self._counts[claim] + 1
                with suppress(OSError):  # a full disk, a server that is away: the lease may outlast it
                    self._store.renew(claim.name, claim.generation, self._text(claim, count))
            if not holds(claim, self._store):
                with self._lock:
                    self._counts.pop(claim, None)

    def free(self, claim: Claim) -> None:
        """Let anybody have it at once; one that was lost is not ours to free."""
        with self._lock:
            count = self._counts.pop(claim, None)
        if count is not None:
            with suppress(OSError):
                self._store.renew(claim.name, claim.generation, self._text(claim, count + 1, FREE))

    def free_all(self) -> None:
        """Free whatever is held."""
        for claim in list(self._counts):
            self.free(claim)

    def holder(self, name: str) -> str:
        """Who has it, in words."""
        newest = self._store.newest(name)
        return holder_words(newest[1]) if newest else "nobody"

    def _text(self, claim: Claim, count: int, state: str = HELD) -> bytes:
        """What a claim says, of the same length whatever the count."""
        facts = {**self._facts, "token": claim.token, "count": f"{count:012d}", "state": state}
        return json.dumps(facts).encode()

    def _keep_renewing(self) -> None:
        while not self._over.wait(self.lease / RENEWALS):
            self.renew()


def _parsed(data: bytes) -> dict[str, Any]:
    """What a claim says; nothing, where its claimant died before it had written, or is writing now."""
    try:
        facts = json.loads(data)
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("lease", 0.0), int | float) else {}


def holder_words(data: bytes) -> str:
    """Who a claim says that it is of."""
    facts = _parsed(data)
    if not {"pid", "host"} <= set(facts):
        return "another process"
    return f"process {facts['pid']} on {facts['host']}"


def holds(claim: Claim, store: ClaimStore | None = None) -> bool:
    """Whether nobody has taken the unit over; asked of the claims themselves, so that any process may ask."""
    newest = (store or ClaimFiles(claim.root)).newest(claim.name)
    return newest is not None and newest[0] == claim.generation and _parsed(newest[1]).get("token") == claim.token


def confirm(claim: Claim, store: ClaimStore | None = None) -> None:
    """Raise ``ClaimLost`` if somebody else has the unit now."""
    if not holds(claim, store):
        raise ClaimLost(f"{claim.name} was taken over by another process, since its claim was not renewed in time")


@contextmanager
def publishing(claim: Claim, is_published: Callable[[], bool], store: ClaimStore | None = None) -> Iterator[bool]:
    """Publish a unit within: by one process at a time, and by no one who has lost it. Yields whether it is to be done.

    It is not if somebody has published it before. Raises ``ClaimLost``.
    """
    store = store or ClaimFiles(claim.root)
    with store.alone(claim.name):
        confirm(claim, store)
        yield not is_published()


@dataclass(frozen=True)
class _Work:
    claim: Claim
    lacking: frozenset[tuple[str, str]]


_present: ContextVar[_Work | None] = ContextVar("present work", default=None)


@contextmanager
def working_under(claim: Claim | None, lacking: Iterable[tuple[str, str]] = ()) -> Iterator[None]:
    """Have what is published and checkpointed within ask whether the claim still holds; None asks nothing.

    ``lacking``: the units (stage, name) that have no record as the work begins: if one has, somebody has made it since.
    """
    before = _present.set(_Work(claim, frozenset(lacking)) if claim else None)
    try:
        yield
    finally:
        _present.reset(before)


def confirm_present() -> None:
    """Raise ``ClaimLost`` if the present work's unit is somebody else's by now."""
    work = _present.get()
    if work is not None:
        confirm(work.claim)


@contextmanager
def publishing_present(unit: tuple[str, str], is_published: Callable[[], bool]) -> Iterator[bool]:
    """As ``publishing``, for the present work, if that is done under a claim; else yields True."""
    work = _present.get()
    if work is None:
        yield True
        return
    with publishing(work.claim, lambda: unit in work.lacking and is_published()) as wanted:
        yield wanted


@contextmanager
def one_at_a_time(root: str | Path, name: str, lease: float) -> Iterator[None]:
    """Wait until nobody else is within a context of that name, or its process has been silent for its lease."""
    with Claimant(root, lease, name) as claimant:
        wait = 0.01
        while (claim := claimant.take(name)) is None:
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)
        try:
            yield
        finally:
            claimant.free(claim)
