"""The Prefect server's own process.

Run as a file, it imports nothing of ours, and nothing from the current folder:

    python -P flows/api.py FD [--ui]     serves on the listening socket FD until standard input closes

With ``--ui`` it is a whole server, with UI and schedules; else the API alone, for one run. Why it cannot start is one
line on stderr.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import threading
from typing import Any

# The UI's own requests to analytics are refused by the browser: nothing leaves the machine.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' {origins}"
)


def main(descriptor: int, ui: bool) -> int:
    """Serve on loopback until standard input closes. Returns the exit code."""
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    gc.disable()  # nothing that is imported is garbage, and to look for some is a fifth of the start's work
    listener = socket.socket(fileno=descriptor)
    try:
        _prepare_database()
        app = _app(ui, listener.getsockname()[1])
    except Exception as error:  # of Prefect, SQLAlchemy, Alembic, the database's driver, pydantic
        print(_cause(error), file=sys.stderr, flush=True)
        return 1
    import uvicorn

    gc.freeze()
    gc.enable()
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=2))
    server.run(sockets=[listener])
    return 0


def _prepare_database() -> None:
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


def _app(ui: bool, port: int) -> Any:
    from prefect.server.api.server import create_app

    if not ui:
        return create_app(ephemeral=True, final=True)
    app = create_app(final=True)
    origins = " ".join(f"{scheme}://{host}:{port}" for scheme in ("http", "ws") for host in ("127.0.0.1", "localhost"))
    policy = POLICY.format(origins=origins)

    @app.middleware("http")
    async def stay_on_this_machine(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = policy
        return response

    return app


def _cause(error: BaseException) -> str:
    """One line that says why: of a chain of errors, the first that has words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    # A server that is still starting hears nothing yet.
    threading.Timer(5.0, os._exit, (1,)).start()


if __name__ == "__main__":
    code = main(int(sys.argv[1]), "--ui" in sys.argv[2:])
    sys.stderr.flush()
    os._exit(code)  # threads of a server that could not start may wait for ever
