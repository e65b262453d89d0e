"""Prefect's clients wait for a server that is away, each of them.

Prefect tries a refused connection again (PREFECT_CLIENT_MAX_RETRIES times, with doubling waits) only for a client that
has been connected before; every task and every process has a client of its own, whose first request would fail while
the server restarts. Whether there is a server at all is asked by the command line, before a run begins.
"""

from __future__ import annotations

from typing import Any

from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient


class _Always:
    """An attribute that is true whatever it is set to."""

    def __get__(self, instance: Any, owner: Any = None) -> bool:
        return True

    def __set__(self, instance: Any, value: bool) -> None:
        pass


def be_patient() -> None:
    """Have every client of this process try refused connections again."""
    for client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
        client._has_connected = _Always()  # type: ignore[assignment]
