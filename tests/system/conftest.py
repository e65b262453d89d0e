"""One finished tiny study, made by the command line in a process of its own, for all system tests."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from benchmarks.environment import as_flags
from flows.server import ALONE, API, QUIET
from tests import lifeline
from tests.explorer.conftest import SCRIPT, kept
from tests.system import forked


def concepts(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *arguments]


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    """A Prefect home of its own: SQLite locks when two ephemeral servers share one. Without a URL, no server."""
    served = {"PREFECT_API_URL": url} if url else {}
    return {**os.environ, "PREFECT_HOME": str(home), "HF_HUB_OFFLINE": "1", **served}


def kill_nine_once(reached: Callable[[], object], arguments: list[str], forks: Path, otherwise: str) -> None:
    """Start a command and, as soon as ``reached()`` holds, kill it and all that it started."""
    with tempfile.TemporaryDirectory() as folder:
        process = forked.start(forks, tuple(arguments), folder)
        end = time.time() + 200
        while not reached():
            said = Path(folder, "err").read_text() if process.exitcode is not None else "still at it"
            assert process.is_alive() and time.time() < end, f"{otherwise}: {said}"
            time.sleep(0.005)
        forked.kill(process)


@pytest.fixture(scope="session")
def shared(tmp_path_factory, worker_id):
    """A folder of all of pytest's processes."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


DATABASE = "prefect.db"


@pytest.fixture(scope="session")
def prefect_server(shared):
    """URL and Prefect home of a server that is running: one for all of pytest's processes, since each costs seconds.

    It was started in an empty home, as a run's own is; the database that it made there is ``new_home``'s.
    """
    home, told = shared / "server", shared / "server.url"
    with FileLock(shared / "server.lock"):
        if not told.exists():
            url = started(home)
            copied(home / DATABASE, shared / DATABASE)
            told.write_text(url)
    return told.read_text(), home


def started(home: Path) -> str:
    """Start a server, which ends with the session, and return its URL when it answers."""
    home.mkdir(exist_ok=True)
    end, lives = time.time() + 120, lifeline.lifeline()
    with socket.create_server(("127.0.0.1", 0)) as listener, (home / "err").open("wb") as said:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
        process = subprocess.Popen(
            [sys.executable, "-P", str(API), str(listener.fileno())],
            stdin=lives,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[listener.fileno()],
            env=environment(home) | QUIET | ALONE,
        )
    os.close(lives)
    with httpx.Client(timeout=2, trust_env=False) as client:  # one: to make one takes longer than to ask
        while True:
            try:
                if client.get(f"{url}/health").status_code == 200:
                    return url
            except httpx.HTTPError:
                pass
            assert process.poll() is None and time.time() < end, (home / "err").read_text()
            time.sleep(0.1)


def copied(database: Path, to: Path) -> None:
    """Copy a database that is in use."""
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(to)) as target:
        source.backup(target)


@pytest.fixture(scope="session")
def new_home(prefect_server, shared, tmp_path_factory):
    """Gives a new Prefect home, in which a server's database is made already: that costs five seconds of a processor.

    ``test_serve_without_a_server_...`` starts one in an empty home.
    """

    def new() -> Path:
        home = tmp_path_factory.mktemp("prefect")
        shutil.copyfile(shared / DATABASE, home / DATABASE)
        return home

    return new


@pytest.fixture(scope="session")
def prefect_home(new_home):
    return new_home()


@pytest.fixture(scope="session")
def served(prefect_server):
    """Variables of a process that finds that server running: each run's own would cost seconds."""
    url, home = prefect_server
    return environment(home, url)


@pytest.fixture(scope="session")
def forks(served, shared):
    """The process that imported everything, which every command below is forked from: one for all, as the server is."""
    with FileLock(shared / "forks.lock"):
        return forked.fork_server(served)


@pytest.fixture(scope="session")
def launch(forks):
    """Runs the command line with the given arguments to its end and returns the finished process."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return forked.run(forks, arguments, timeout=400)

    return run


@pytest.fixture(scope="session")
def tiny_study(launch, shared):
    """Made once, by whichever of pytest's processes asks first; the others wait for it."""
    root = shared / "study" / "tiny"
    with FileLock(shared / "study.lock"):
        if not (shared / "study" / "done").exists():
            done = launch("run", "configs/tiny.yaml", "--root", str(root))
            assert done.returncode == 0, done.stderr
            (shared / "study" / "done").touch()
    return root


@pytest.fixture(scope="module")
def edited_study(tiny_study, tmp_path_factory):
    """A copy of the tiny study, beside which an edit is kept whose prompt is a script. To be read, like that one."""
    root = shutil.copytree(tiny_study, tmp_path_factory.mktemp("edited") / "tiny")
    kept(root, "tree-early-0123abcd", prompt=SCRIPT, concept="tree", operation="place", region="left")
    return root


@pytest.fixture
def copy(tiny_study, tmp_path):
    """A copy of the tiny study, to be changed or spoilt."""
    return shutil.copytree(tiny_study, tmp_path / "copy")


def given(*settings: str) -> list[str]:
    """Settings as the command line takes them."""
    return as_flags(settings)


# Half the images of the tiny study, in half the steps, at half its sites; every stage has units and every table rows.
SMALL = (
    "sampling.steps=2",
    "prompts.splits={train: 8, dictionary: 16, layout: 12, style: 4}",
    "sites.blocks={mid: mid_block.attentions.0}",
)


@pytest.fixture(scope="session")
def small_study(launch, shared):
    """A study of half the time, made once, for tests that make much of one again. Its settings are ``SMALL``."""
    root = shared / "small" / "small"
    with FileLock(shared / "small.lock"):
        if not (shared / "small" / "done").exists():
            done = launch("run", "configs/tiny.yaml", "--root", str(root), *given(*SMALL))
            assert done.returncode == 0, done.stderr
            (shared / "small" / "done").touch()
    return root


@pytest.fixture
def small(small_study, tmp_path):
    """A copy of the small study, to be changed or spoilt."""
    return shutil.copytree(small_study, tmp_path / "small")
