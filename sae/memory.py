"""Keep freed memory while training: a step frees and takes the same hundreds of megabytes each time.

By default glibc gives large blocks back to the system at once, and every step then waits for the kernel to hand out
and clear them anew: 3 % of a step at n = 5120, 28 % at n = 20480 (``benchmarks/sae_step.py``).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt(3)
_DEFAULT_TRIM, _DEFAULT_MMAP_MAX = 128 * 1024, 65536
_lock, _users = Lock(), 0


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """While open, memory that is freed stays with the process; afterwards it goes back. No effect without glibc."""
    global _users
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    with _lock:
        _users += 1
        libc.mallopt(_MMAP_MAX, 0)
        libc.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:  # other sites may be training in threads of this process
                libc.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
                libc.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM)
                libc.malloc_trim(0)
