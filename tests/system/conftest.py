"""One finished tiny study, made by the command line in a process of its own, for all system tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path

import httpx
import pytest
from filelock import FileLock

from flows.server import API
from tests.explorer.conftest import SCRIPT, kept
from tests.system import forked


def concepts(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *arguments]


def environment(home: Path, url: str | None = None) -> dict[str, str]:
    """A Prefect home of its own: SQLite locks when two ephemeral servers share one. Without a URL, no server."""
    served = {"PREFECT_API_URL": url} if url else {}
    return {**os.environ, "PREFECT_HOME": str(home), "HF_HUB_OFFLINE": "1", **served}


def kill_nine_once(
    reached: Callable[[], object], arguments: list[str], forks: ForkServerContext, otherwise: str
) -> None:
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


DATABASE = """
import asyncio
from prefect.server.database import provide_database_interface
asyncio.run(provide_database_interface().create_db())
"""


@pytest.fixture(scope="session")
def new_home(shared, tmp_path_factory):
    """Gives a new Prefect home, in which a server's database is made already: that costs five seconds of a processor.

    ``test_serve_without_a_server_...`` starts one in an empty home.
    """
    made = shared / "database"
    with FileLock(shared / "database.lock"):
        if not made.exists():
            home = tmp_path_factory.mktemp("database")
            subprocess.run([sys.executable, "-c", DATABASE], env=environment(home), cwd=home, check=True, timeout=200)
            shutil.move(home, made)

    def new() -> Path:
        return shutil.copytree(made, tmp_path_factory.mktemp("prefect"), dirs_exist_ok=True)

    return new


@pytest.fixture(scope="session")
def prefect_home(new_home):
    return new_home()


@pytest.fixture(scope="session")
def served(prefect_home):
    """Variables of a process that finds a server running: one for all, since each run's own would cost seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/api"
    server = subprocess.Popen(
        [sys.executable, str(API), str(listener.fileno())],
        stdin=subprocess.PIPE,  # it ends when this process does, and closes the pipe
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[listener.fileno()],
        env=environment(prefect_home),
    )
    end = time.time() + 120
    while True:
        try:
            if httpx.get(f"{url}/health", timeout=2).status_code == 200:
                break
        except httpx.HTTPError:
            pass
        assert server.poll() is None and time.time() < end, "the tests' server did not come up"
        time.sleep(0.1)
    yield environment(prefect_home, url)
    server.kill()
    server.wait()


@pytest.fixture(scope="session")
def forks(served):
    """The process that imported everything, which every command below is forked from."""
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
    return [part for setting in settings for part in ("--set", setting)]


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
