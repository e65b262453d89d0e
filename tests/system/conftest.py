"""One finished tiny study, made by the command line in a process of its own, for all system tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.paths import ROOT


def concepts(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *arguments]


def environment(home: Path) -> dict[str, str]:
    """A Prefect home of its own: SQLite locks when two ephemeral servers share one."""
    return {**os.environ, "PREFECT_HOME": str(home), "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory):
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def launch(prefect_home):
    """launch(*arguments) runs the command line to its end and returns the finished process."""

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            concepts(*arguments),
            cwd=ROOT,
            env=environment(prefect_home),
            capture_output=True,
            text=True,
            timeout=400,
        )

    return run


@pytest.fixture(scope="session")
def tiny_study(launch, tmp_path_factory, worker_id):
    """Made once, by whichever of pytest's processes asks first; the others wait for it."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared if worker_id == "master" else shared.parent
    root = shared / "study" / "tiny"
    with FileLock(shared / "study.lock"):
        if not (shared / "study" / "done").exists():
            done = launch("run", "configs/tiny.yaml", "--root", str(root))
            assert done.returncode == 0, done.stderr
            (shared / "study" / "done").touch()
    return root
