"""The server of the explorer: on loopback, until it is interrupted."""

from __future__ import annotations

import gc
import socket
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import uvicorn

from concept_atlas import AtlasError
from explorer.app import application
from explorer.memory import give_back_memory
from explorer.source import Source

LOOPBACK = "127.0.0.1"
FIRST_PAGE = 3.0  # seconds in which nothing else is to hold it up
AT_ONCE = 64  # requests; more are answered 503


def explore(
    root: str | Path, port: int, browse: bool = False, models: Sequence[str] = (), other: str | Path | None = None
) -> None:
    """Serve the pages over a study folder; ``port`` 0 takes any that is free, ``browse`` opens them in a browser.

    ``models``: settings that tell where the study's models are by now, for edits, as in ``["model.path=FOLDER"]``.
    ``other``: the folder of a study to compare this one with.

    Raises ``AtlasError`` for a folder that holds no study or one of a newer version, and for a port that is taken.
    """
    give_back_memory()
    source = Source(root, models, other=None if other is None else Source(other))
    listener = listening(port)
    address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/"
    server = uvicorn.Server(
        uvicorn.Config(
            application(source),
            log_level="critical",
            access_log=False,
            lifespan="off",
            server_header=False,
            limit_concurrency=AT_ONCE,
            ws="none",
        )
    )
    print(f"study {source.atlas.name}: {address} (Ctrl-C ends it)", flush=True)
    warm_up = threading.Timer(FIRST_PAGE, ready, [source])
    warm_up.daemon = True
    warm_up.start()
    if browse:
        webbrowser.open(address)  # the listener takes the browser's call before the server answers it
    server.run(sockets=[listener])


def listening(port: int) -> socket.socket:
    """A socket that listens on loopback. Raises ``AtlasError`` for a port that cannot be had."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise AtlasError(
            f"port {port} of this machine cannot be had ({error.strerror}): name another with --port (0: any that is "
            "free)"
        ) from error
    return listener


def ready(source: Source) -> None:
    """Do beforehand what the first pages of concepts and codes would wait for: compare files, import what reads arrays.

    What is held by then is for good, and nothing of it is searched for garbage again, which takes a tenth of a second.
    """
    with suppress(AtlasError, OSError):  # the page that meets it tells it
        source.look_through()
    gc.freeze()
