"""When a tree of folders last changed, asked before every page: folders are listed again only if they have."""

from __future__ import annotations

import os
import threading
from pathlib import Path


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
            if folder not in self._known or self._known[folder][0] != changed:
                self._known[folder] = changed, sorted(entry.path for entry in os.scandir(folder) if entry.is_dir())
        except FileNotFoundError:
            return []
        return [changed, *(time for inner in self._known[folder][1] for time in self._below(inner))]
