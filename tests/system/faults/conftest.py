"""What the tests of faults share: a study with its sampling to be done again, a Prefect server, its workers, figures.

A fault is told by what it cost: seconds until the next unit was done, and units that were done again. These figures are
printed after the tests, and stand in docs/operating.md.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import automations
from flows.environment import PATIENT
from flows.server import API
from flows.setting_up import set_up
from storage.inspect import table_hashes
from storage.records import record_path, records
from study.verify import verify
from tests.paths import ROOT
from tests.ports import free_port
from tests.system.conftest import SMALL, concepts, environment, given

TINY = str(ROOT / "configs" / "tiny.yaml")
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
START_SECONDS = 60  # of the rule about runs that never begin, which is five minutes: the rest is waiting
BUSY_SECONDS = 30  # that a server may answer 503
figures: list[str] = []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """After the tests, what each fault cost."""
    if figures:
        terminalreporter.section("what faults cost")
        for line in figures:
            terminalreporter.write_line(line)


def measured(fault: str, seconds: float, again: int, more: str = "") -> None:
    """Print a fault's figures after the tests."""
    figures.append(f"{fault}: the next unit done {seconds:.0f} s later, units begun again: {again}{more}")


def wait_for(condition: Callable[[], Any], seconds: float, otherwise: str | Callable[[], str]) -> Any:
    """What the condition gives once it is true; an answer that failed is asked for again."""
    end, refused = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except httpx.HTTPError as error:
            refused = error
        time.sleep(0.1)
    raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise()) from refused


@pytest.fixture
def uncollected(small, tmp_path):
    """A copy of the small study without what `collect` makes: five shards are to be sampled. Its name is its own."""
    for name in ("done/collect", "done/plan", "tables/images", "tables/prompts", "activations.zarr"):
        shutil.rmtree(small / name)
    return small.rename(tmp_path / tmp_path.name)


def sampled(root: Path) -> list[str]:
    """The shards that are done."""
    return records(root, "collect")


def stamps(root: Path, shards: list[str]) -> dict[str, int]:
    """When the records of these shards were written."""
    return {shard: record_path(root, "collect", shard).stat().st_mtime_ns for shard in shards}


def collecting(root: Path) -> list[str]:
    """The command that samples what is missing."""
    return concepts("collect", TINY, "--root", str(root), *given(*SMALL))


def next_unit(root: Path, before: list[str], since: float | None = None) -> float:
    """Wait for a shard that is done after ``before``. Returns the seconds from ``since`` (now) to its record."""
    since = time.time() if since is None else since
    wait_for(lambda: len(sampled(root)) > len(before), 600, lambda: f"no shard after {before}")
    written = stamps(root, [shard for shard in sampled(root) if shard not in before])
    return max(0.0, min(written.values()) / 1e9 - since)


def assert_undisturbed(root: Path, small_study: Path) -> None:
    """Every table is what it is in a study that nothing happened to, and every file what its record says."""
    assert len(sampled(root)) == 5
    assert table_hashes(root) == table_hashes(small_study)
    assert verify(root) == []


class Server:
    """A Prefect server with all its services on a port of its own; killed, it refuses, and it may be started again."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.variables = variables | {"PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2"}
        self.log: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(API), str(listener.fileno()), "--ui"],
            stdin=subprocess.PIPE,  # it ends when this process does
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            env=self.variables,
        )
        listener.close()
        wait_for(lambda: self.ask("GET", "health"), 200, "the server did not come up")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """What it answers, once it is not too busy to: SQLite may be locked for a while. Raises ``httpx.HTTPError``."""
        content = {} if method == "GET" else {"json": given}
        end = time.monotonic() + BUSY_SECONDS
        while True:
            answer = httpx.request(method, f"{self.url}/{path}", **content, timeout=60, trust_env=False)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > end:
                break
            time.sleep(0.5)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def said(self) -> str:
        return self.log.read_text()[-3000:] if self.log else ""

    def runs_of(self, root: Path) -> list[str]:
        """The ids of the flow runs of a folder."""
        runs = wait_for(lambda: self.ask("POST", "flow_runs/filter"), 60, "no runs")
        return [run["id"] for run in runs if run["parameters"].get("root") == str(root)]

    def begun_again(self, root: Path) -> int:
        """How many pieces of work were begun a second or third time, in all runs of a folder, by all that ran them."""
        asked = {"flow_runs": {"id": {"any_": self.runs_of(root)}}, "limit": 200}
        tasks = wait_for(lambda: self.ask("POST", "task_runs/filter", **asked), 60, "no tasks")
        begun = Counter[str]()
        for task in tasks:
            states = self.ask("GET", f"task_run_states/?task_run_id={task['id']}")
            begun[task["name"]] += sum(state["type"] == "RUNNING" for state in states)
        return sum(max(0, times - 1) for times in begun.values())


class Site(Server):
    """A server that is set up, with what prefect.yaml deploys, and the means to start workers."""

    def set_up(self) -> None:
        with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: self.url}):
            patch.setattr(automations, "START_SECONDS", START_SECONDS)
            set_up(False)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
        done = subprocess.run(command, cwd=ROOT, env=self.client, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def client(self) -> dict[str, str]:
        """Variables of those who use the server, as docs/operating.md has workers started."""
        return self.variables | PATIENT | {"PREFECT_API_URL": self.url, "PREFECT_WORKER_QUERY_SECONDS": "1"}

    def deployment(self, name: str) -> str:
        return next(one["id"] for one in self.ask("POST", "deployments/filter") if one["name"] == name)

    def run(self, root: Path, name: str = "collect", config: str = TINY) -> str:
        """The id of a new run of a deployment."""
        parameters = {"config_path": config, "root": str(root), "overrides": list(SMALL)}
        path = f"deployments/{self.deployment(name)}/create_flow_run"
        return wait_for(lambda: self.ask("POST", path, parameters=parameters), 60, "no run was made")["id"]

    def state(self, run: str) -> dict[str, Any]:
        """Its ``type``, ``name`` and ``message``."""
        return wait_for(lambda: self.ask("GET", f"flow_runs/{run}"), 60, "no answer")["state"]

    def await_end(self, run: str, seconds: float = 300) -> None:
        """Wait until a run has completed."""
        wait_for(lambda: self.state(run)["type"] == "COMPLETED", seconds, lambda: f"{self.state(run)}; {self.said()}")

    @contextmanager
    def worker(self, folder: Path) -> Iterator[psutil.Process]:
        """A worker, and all that it started, until the context ends."""
        self.log = folder / "worker.log"
        with self.log.open("a") as log:
            command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "atlas", "--type", "process"]
            process = subprocess.Popen(command, cwd=folder, env=self.client, stdout=log, stderr=log)
        try:
            yield psutil.Process(process.pid)
        finally:
            kill_all(process.pid)
            process.wait()


def flows_of(worker: psutil.Process) -> list[psutil.Process]:
    """The processes of a worker's runs."""
    flows = []
    for child in worker.children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            if "PREFECT__FLOW_RUN_ID" in child.environ():
                flows.append(child)
    return flows


def kill_all(pid: int) -> None:
    """``kill -9`` for a process and for all that it started, the process first: it can tell nobody."""
    try:
        process = psutil.Process(pid)
        started = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for each in (process, *started):
        with suppress(psutil.NoSuchProcess):
            each.kill()


@pytest.fixture(scope="session")
def site(new_home):
    """One for all tests that need no other database than SQLite."""
    made = Site(environment(new_home()))
    made.start()
    made.set_up()
    yield made
    made.kill()
