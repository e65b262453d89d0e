"""When a tree of folders last changed, asked before every page: folders are listed again only if they have."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SETTLED_NS = 2_000_000_000  # the longest tick of a file system: within one, a second change leaves no trace


class Changes:
    """Of a folder and all below it. Files that are put in their place by a rename change their folder's time."""

    def __init__(self, top: Path) -> None:
        self._top = str(top)
        self._known: dict[str, tuple[int, list[str]]] = {}  # folder -> its time, and the folders in it
        self._lock = threading.Lock()

    def times(self) -> tuple[int, ...]:
        """Time of change of each folder, in nanoseconds and in an order that is always the same; empty without any."""
        with self._lock:
            return tuple(self._below(self._top))

    def _below(self, folder: str) -> list[int]:
        try:
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116 - a Path for each of hundreds takes longer than asking
            inner = self._inner(folder, changed)
        except FileNotFoundError:
            return []
        return [changed, *(one for path in inner for one in self._below(path))]

    def _inner(self, folder: str, changed: int) -> list[str]:
        """The folders in a folder, as they were when it last changed, unless that was a moment ago."""
        known = self._known.get(folder)
        if known and known[0] == changed:
            return known[1]
        looked = time.time_ns()
        inner = sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
        if looked - changed > SETTLED_NS:
            self._known[folder] = changed, inner
        return inner
