"""A server on PostgreSQL and Redis, as docker-compose.yml has it: the one is restarted, the other gone for a while.

Both are programs of this machine with folders of their own. PostgreSQL does not run as root: it is given a user.
"""

import getpass
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.ports import free_port
from tests.system.conftest import environment
from tests.system.faults.conftest import (
    Site,
    assert_undisturbed,
    collecting,
    flows_of,
    measured,
    next_unit,
    sampled,
    wait_for,
)

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(600)]
GONE = 30
USER = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []


class Postgres:
    """A database server, in a folder that its user owns."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder, self.port = programs, folder, free_port()

    def do(self, program: str, *arguments: str) -> None:
        command = [*USER, str(self.programs / program), *arguments]
        # Its output is a file: what it starts would hold a pipe open.
        with (self.folder / "said").open("w") as said:
            done = subprocess.run(command, cwd="/", stdout=said, stderr=said, timeout=120)
        assert done.returncode == 0, (self.folder / "said").read_text()

    def start(self) -> None:
        data = str(self.folder / "data")
        self.do("initdb", "--pgdata", data, "--username", "prefect", "--auth", "trust", "--no-sync")
        self.control("start")
        self.do("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", "prefect", "prefect")

    def control(self, action: str) -> None:
        """``start``, ``restart`` or ``stop``: at once, as a crash would have it."""
        how = ["--mode", "immediate"] if action != "start" else []
        options = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        folder, log = str(self.folder / "data"), str(self.folder / "log")
        self.do("pg_ctl", action, "--pgdata", folder, "--log", log, "--options", options, "--wait", *how)

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://prefect@127.0.0.1:{self.port}/prefect"


class Redis:
    """A Redis without a disk: what dies with it is gone."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def postgres():
    programs = [*Path("/usr/lib/postgresql").glob("*/bin/initdb")] or [
        Path(named) for named in [shutil.which("initdb")] if named
    ]
    if not programs:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp())  # not pytest's, which only its own user may enter
    shutil.chown(folder, "postgres" if USER else getpass.getuser())
    made = Postgres(max(programs).parent, folder)
    made.start()
    yield made
    made.control("stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def redis():
    if not shutil.which("redis-server"):
        pytest.skip("Redis is missing: apt-get install redis-server")
    if not importlib.util.find_spec("prefect_redis"):
        pytest.skip("prefect-redis is missing: pip install --constraint constraints.txt --editable '.[server]'")
    made = Redis()
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def site(postgres, redis, tmp_path_factory):
    """With the settings of docker-compose.yml's server."""
    variables = environment(tmp_path_factory.mktemp("prefect")) | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres.url,
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
        "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
        "PREFECT_SERVER_DOCKET_URL": f"redis://127.0.0.1:{redis.port}/1",
        "PREFECT_REDIS_MESSAGING_HOST": "127.0.0.1",
        "PREFECT_REDIS_MESSAGING_PORT": str(redis.port),
        "PREFECT_REDIS_MESSAGING_DB": "0",
    }
    made = Site(variables)
    made.start()
    made.set_up()
    yield made
    made.kill()


def test_a_restarted_postgresql_is_outlived_by_a_run_of_a_worker_and_of_a_command(
    site, postgres, uncollected, small_study, tmp_path
):
    other = shutil.copytree(uncollected, tmp_path / "of-the-command")
    with site.worker(tmp_path), (tmp_path / "log").open("w") as log:
        run = site.run(uncollected)
        command = subprocess.Popen(collecting(other), cwd=ROOT, env=site.client, stdout=log, stderr=log)
        wait_for(lambda: sampled(uncollected) and sampled(other), 300, lambda: f"nothing was sampled: {site.said()}")
        before = sampled(uncollected)
        postgres.control("restart")
        took = next_unit(uncollected, before)
        assert command.wait(300) == 0, (tmp_path / "log").read_text()
        site.await_end(run)
    again = max(site.begun_again(uncollected), site.begun_again(other))
    measured("PostgreSQL restarted", took, again)
    assert again == 0
    assert_undisturbed(uncollected, small_study)
    assert_undisturbed(other, small_study)


def test_a_redis_that_is_gone_for_thirty_seconds_is_outlived_and_rules_work_again(
    site, redis, uncollected, small_study, tmp_path
):
    with site.worker(tmp_path) as worker:
        run = site.run(uncollected)
        wait_for(lambda: sampled(uncollected), 300, lambda: f"nothing was sampled: {site.said()}")
        redis.kill()
        gone, before = time.time(), sampled(uncollected)
        time.sleep(GONE)
        redis.start()
        took = next_unit(uncollected, before, gone) if len(before) < 5 else 0.0
        site.await_end(run)
        ended = time.time() - gone - GONE
        again = site.begun_again(uncollected)
        measured(
            f"Redis gone for {GONE} s",
            took,
            again,
            f"; the run ended {ended:.0f} s after it was back",
        )
        assert again == 0
        assert_undisturbed(uncollected, small_study)
        # The rules are told by events, which pass through Redis: one of them starts a run again that is killed.
        shutil.rmtree(uncollected / "done" / "collect")
        run = site.run(uncollected)
        wait_for(lambda: sampled(uncollected), 300, lambda: f"nothing was sampled: {site.said()}")
        for process in flows_of(worker):
            process.kill()
        site.await_end(run)
    # At least once; what was told twice around the loss starts it once more, and the rule ends at three.
    assert 2 <= site.ask("GET", f"flow_runs/{run}")["run_count"] <= 4
    assert_undisturbed(uncollected, small_study)
