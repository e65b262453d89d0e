"""What ends the processes that all of pytest's processes use together: a pipe that the session alone holds open.

pytest-xdist's workers end one after another, and who started a server may be done long before who uses it last. So
nobody who uses it ends it: it reads a named pipe to its end, and the other side is held by the process that was started
as ``pytest``. The system closes that side however this process ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

FOLDER = "ATLAS_TESTS_SESSION"  # the variable by which workers find the session's folder


def hold(config: pytest.Config) -> None:
    """Make the session's folder with its pipe, and hold the pipe open to the session's end."""
    folder = Path(tempfile.mkdtemp(prefix="atlas-"))  # short: addresses of sockets have a hundred characters
    os.mkfifo(folder / "lifeline")
    held = os.open(folder / "lifeline", os.O_RDWR)  # waits for no reader, as O_WRONLY would
    os.environ[FOLDER] = str(folder)

    def let_go() -> None:
        os.close(held)
        shutil.rmtree(folder)
        del os.environ[FOLDER]

    config.add_cleanup(let_go)


def session() -> Path:
    """The session's folder: one for all of pytest's processes."""
    return Path(os.environ[FOLDER])


def lifeline() -> int:
    """A new descriptor of the pipe's end to read from, to be given to a process as its standard input."""
    return os.open(session() / "lifeline", os.O_RDONLY)
