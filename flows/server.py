"""The Prefect server of a run that has none: temporary, on loopback, and gone when the run is, however it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, temporary_settings

# A pipe from the run to the watcher is the run's lifeline: the system closes it also after kill -9.
WATCH = "import os, signal, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), signal.SIGTERM)"


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the URL of the configured server's API, or of a temporary server's while the context is open.

    Prefect would start one by itself, but in every process of its own (each Dask worker), and would leave it behind
    when the run is killed.
    """
    if url := PREFECT_API_URL.value():
        yield url
        return
    server = SubprocessASGIServer()
    server.start()
    assert server.server_process is not None
    watcher = subprocess.Popen([sys.executable, "-c", WATCH, str(server.server_process.pid)], stdin=subprocess.PIPE)
    os.environ["PREFECT_API_URL"] = server.api_url  # for processes that the run starts
    try:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            yield server.api_url
    finally:
        del os.environ["PREFECT_API_URL"]
        watcher.kill()  # the server's process id may be another's after it has stopped
        watcher.wait()
        server.stop()
