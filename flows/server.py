"""The Prefect server of a run that has none: temporary, on loopback, and gone when the run is, however it ends.

Prefect would start one by itself, but in every process of its own (each Dask worker), would leave it behind when the
run is killed, and would let Ctrl-C end it before the run, which then waits for it in vain.

    python -m flows.server PORT     serves until its standard input closes
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.errors import StudyError

START_SECONDS, STOP_SECONDS = 120, 10


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yield the URL of the configured server's API, or of a temporary server's while the context is open.

    Raises ``StudyError`` if the temporary server does not come up.
    """
    if url := PREFECT_API_URL.value():
        yield url
        return
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    # The pipe is the run's lifeline: the system closes it also after kill -9. The session keeps Ctrl-C away.
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.server", str(port)],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"PREFECT_UI_ENABLED": "0"},
    )
    os.environ["PREFECT_API_URL"] = url  # for processes that the run starts
    try:
        _wait_until_healthy(process, url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield url
    finally:
        del os.environ["PREFECT_API_URL"]
        _stop(process)


def free_port() -> int:
    """A loopback port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise StudyError(
        "the temporary Prefect server did not come up: start one with `prefect server start` and set PREFECT_API_URL"
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(port: int) -> None:
    """Serve Prefect's API on loopback until standard input closes."""
    import uvicorn
    from prefect.server.api.server import create_app

    threading.Thread(target=_end_with_the_run, daemon=True).start()
    uvicorn.run(create_app(ephemeral=True, final=True), host="127.0.0.1", port=port, log_level="critical")


def _end_with_the_run() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(int(sys.argv[1]))
