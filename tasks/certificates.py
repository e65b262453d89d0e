"""Prefect's clients read the certificates that they trust once, not each of them anew.

A run makes some twenty clients (of flows, of threads that have none, of the log, of limits), and ``ssl`` takes 20 to
50 ms of a processor to read the file of certificates for one, also where the server is on loopback and needs none.
"""

from __future__ import annotations

import functools
import ssl
from pathlib import Path
from typing import Any

from prefect.client import orchestration


class _ReadOnce:
    """The module ``ssl`` as Prefect's clients use it: contexts that trust the same file are one context."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ssl, name)

    @staticmethod
    def create_default_context(*, cafile: str | None = None) -> ssl.SSLContext:
        """Of a file, the context that was made of it before. Without one, a new context: Prefect changes that."""
        if cafile is None:
            return ssl.create_default_context()
        path = Path(cafile)
        return _trusting(cafile, path.stat().st_mtime_ns if path.exists() else 0)


@functools.lru_cache(maxsize=4)
def _trusting(cafile: str, _modified: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=cafile)  # of no file: raises what Prefect would have raised


def read_certificates_once() -> None:
    """Have the clients of this process share what they trust, which ``ssl`` allows between threads."""
    orchestration.ssl = _ReadOnce()  # type: ignore[assignment]
