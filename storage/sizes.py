"""Bytes of a study's stores while they grow, measured no oftener than a look at a large folder allows."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

STORES = ("activations.zarr", "tables", "saes")
REST = 50  # times as long as a look took, before the next one: a fiftieth of a processor at most
AT_LEAST_S = 2.0


class Sizes:
    """What lies in the stores of a study's folder."""

    def __init__(self, root: str | Path) -> None:
        self._root = Path(root)
        self._known: dict[str, int] = {}
        self._next = float("-inf")

    def measured(self) -> dict[str, int]:
        """Store -> its bytes, of those that are there: counted anew if it is time, else as they were found last."""
        began = time.monotonic()
        if began >= self._next:
            folders = {name: self._root / name for name in STORES}
            self._known = {name: bytes_below(folder) for name, folder in folders.items() if folder.is_dir()}
            ended = time.monotonic()
            self._next = ended + max(REST * (ended - began), AT_LEAST_S)
        return self._known

    def forget(self) -> None:
        """Have the next call count anew."""
        self._next = float("-inf")


def bytes_of_store(store: str | Path, sites: Iterable[str]) -> int:
    """Bytes of the shards of an activation store's sites, without a look into the three folders around each.

    Metadata, and what a killed process left half written, are not counted.
    """
    return sum(_bytes_of_shards(os.path.join(store, site, "c")) for site in sites)  # noqa: PTH118


def _bytes_of_shards(folder: str) -> int:
    total = 0
    with suppress(OSError), os.scandir(folder) as shards:  # a site without a shard has no such folder
        for shard in shards:
            with suppress(OSError):
                total += os.stat(f"{shard.path}/0/0/0").st_size  # noqa: PTH116 - of 180,000 files
    return total


def bytes_below(folder: str | Path) -> int:
    """Bytes of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        total += bytes_below(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
    except OSError:
        return total
    return total
