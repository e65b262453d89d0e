"""A block of sums for each label in bounded memory: the first blocks lie in memory, further ones in a scratch file.

Labels are met in the order of images, so those that come first are the frequent ones; the thousands of a large
vocabulary that are seldom met go to the file, which is mapped into memory and let go of again.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import IO

import numpy as np

from concepts.errors import ConceptError

IN_MEMORY = 1_000_000_000  # bytes; at 5120 concepts a block has 0.9 MB
MAPPED_AT_ONCE = 128  # blocks of the file that are looked at before their memory is given back
EXTENT = 64  # blocks by which the file grows


class Blocks(Mapping[str, np.ndarray]):
    """Label -> int64 array of ``shape``, zeros at first, to be added to in place."""

    def __init__(self, shape: tuple[int, ...], in_memory: int = IN_MEMORY) -> None:
        self.shape, self._room = shape, in_memory // (8 * math.prod(shape))
        self._blocks: dict[str, np.ndarray] = {}
        self._file: IO[bytes] | None = None
        self._maps: list[mmap.mmap] = []
        self._free: list[np.ndarray] = []
        self._seen = 0

    def add(self, label: str) -> None:
        """Give a label a block of zeros. Raises ``ConceptError`` if the scratch file's disk is full."""
        if len(self._blocks) < self._room:
            self._blocks[label] = np.zeros(self.shape, np.int64)
            return
        if not self._free:
            self._grow()
        self._blocks[label] = self._free.pop()

    def __getitem__(self, label: str) -> np.ndarray:
        """The block itself. One of the file is in memory from here until some others have been looked at."""
        if self._maps:
            self._seen += 1
            if self._seen > MAPPED_AT_ONCE:
                self._let_go()
        return self._blocks[label]

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)

    def _grow(self) -> None:
        each = 8 * math.prod(self.shape)
        size = -(-EXTENT * each // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        start = sum(map(len, self._maps))
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="overlaps-")  # noqa: SIM115 - it goes with this object
            _reserve(self._file.fileno(), start, size)
        except OSError as error:
            raise ConceptError(
                f"the sums of {len(self)} labels do not fit in {tempfile.gettempdir()} ({error.strerror}): free space "
                "there, or set TMPDIR to a disk with room"
            ) from error
        self._maps.append(mmap.mmap(self._file.fileno(), size, offset=start))
        flat = np.frombuffer(self._maps[-1], np.int64, EXTENT * each // 8)
        self._free = list(flat.reshape(EXTENT, *self.shape))[::-1]

    def _let_go(self) -> None:
        """Give back the memory of the file's blocks; what they hold stays in the file, and comes back when needed."""
        self._seen = 0
        if hasattr(mmap, "MADV_DONTNEED"):
            for mapped in self._maps:
                mapped.madvise(mmap.MADV_DONTNEED)


def _reserve(descriptor: int, start: int, size: int) -> None:
    """Lengthen a file, where the system can with its room on the disk.

    Writing to a mapped page of a full disk would end the process without a word.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, size)
    else:
        os.ftruncate(descriptor, start + size)
