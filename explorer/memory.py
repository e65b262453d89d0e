"""What a page took of memory goes back to the system, for a process that answers many."""

from __future__ import annotations

import ctypes

import pyarrow as pa

M_ARENA_MAX, M_MMAP_THRESHOLD = -8, -3  # of glibc's <malloc.h>
ARENAS, MAPPED_BYTES = 2, 2**20  # what is larger is mapped by itself, and unmapped when it is freed


def give_back_memory() -> None:
    """Have what a page took given back to the system once it is answered, where the C library is glibc.

    Else Arrow's own allocator, and an arena of glibc's for each of many threads, keep what one page of many needed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        tune = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; of Windows there is none to ask
        return
    tune(M_ARENA_MAX, ARENAS)
    tune(M_MMAP_THRESHOLD, MAPPED_BYTES)
