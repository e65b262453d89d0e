"""The study on a Dask cluster and as served deployments, and the temporary server's end."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server import API
from storage.inspect import table_hashes
from study.config import load_config
from study.status import expected_units, status
from study.verify import verify
from tests.paths import ROOT
from tests.ports import free_port
from tests.system.conftest import SMALL, concepts, environment, given

pytestmark = pytest.mark.system
ENDED = {"COMPLETED", "FAILED", "CRASHED"}
CLIENT = httpx.Client(timeout=60.0, trust_env=False)  # one: what it takes to make one would be most of each look
DEPLOYED = {"study", "collect", "train", "label", "bench", "layout", "intervene", "figures", "trace", "atlas", "edit"}


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_a_dask_cluster_gives_the_same_tables_though_a_worker_is_killed(small_study, small, served, tmp_path):
    """All but the sampling and the finding, which are by far the slowest and are a shard's work like the segmenting."""
    kept = {"study", "runs", "plan", "collect", "tag", "detect", "prompts", "images", "tags", "boxes"}
    made = [small / "saes", *(small / "done").iterdir(), *(small / "tables").iterdir()]
    for folder in made:
        if folder.name not in kept:
            shutil.rmtree(folder)
    command = concepts("run", "configs/tiny.yaml", "--root", str(small), *given(*SMALL, "run.task_runner=dask"))
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(command, cwd=ROOT, env=served, stdout=log, stderr=log)
    try:
        # The first shard that is segmented: others are under way, and a worker holds one of them.
        segmented = small / "done" / "segment"
        _wait(lambda: process.poll() is not None or list(segmented.rglob("*.json")), 600, "nothing was segmented")
        workers = _workers(process.pid)
        assert len(workers) >= 2, (tmp_path / "log").read_text()[-3000:]
        workers[0].kill()
        assert process.wait(400) == 0, (tmp_path / "log").read_text()[-3000:]
    finally:
        process.kill()
        log.close()
    assert table_hashes(small) == table_hashes(small_study)
    assert verify(small) == []


@pytest.mark.faults
def test_the_temporary_server_ends_with_a_run_that_is_killed(prefect_home, tmp_path):
    command = concepts("run", "configs/tiny.yaml", "--root", str(tmp_path / "killed"))
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(prefect_home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    end = time.time() + 120
    while not (servers := _servers(process.pid)):
        assert process.poll() is None and time.time() < end, "no temporary server was started"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)  # the run alone: nobody tells the server
    process.wait()
    _, alive = psutil.wait_procs(servers, timeout=20)
    assert not alive


def _server_is_starting(process: psutil.Process, root: Path) -> bool:
    return bool(_servers(process.pid))


def _a_shard_is_done(process: psutil.Process, root: Path) -> bool:
    return bool(list((root / "done" / "collect").glob("*.json")))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("reached", "number", "settings"),
    [
        (_server_is_starting, signal.SIGTERM, []),
        (_a_shard_is_done, signal.SIGINT, []),
        (_a_shard_is_done, signal.SIGINT, ["--set", "run.task_runner=dask"]),
    ],
    ids=["while-it-starts", "while-it-samples", "with-dask"],
)
def test_a_signal_ends_a_run_within_seconds_and_leaves_nothing_behind(
    prefect_home, tmp_path, reached, number, settings
):
    root = tmp_path / "interrupted"
    process = subprocess.Popen(
        concepts("collect", "configs/tiny.yaml", "--root", str(root), *settings),
        cwd=ROOT,
        env=environment(prefect_home),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell starts background jobs deaf to Ctrl-C, and these tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    run = psutil.Process(process.pid)
    _wait(lambda: process.poll() is not None or reached(run, root), 300, "it did not get so far")
    started = run.children(recursive=True)
    os.killpg(process.pid, number)  # as a terminal does: every process of the session
    began = time.monotonic()
    _, errors = process.communicate(timeout=90)
    took = time.monotonic() - began
    assert process.returncode == 128 + number and "terminate called" not in errors, errors[-3000:]
    assert errors.endswith("interrupted; what was finished is kept: run the same command again\n")
    assert took < 10
    assert started and not psutil.wait_procs(started, timeout=10)[1]


def _workers(pid: int) -> list[psutil.Process]:
    """The Dask workers of a run: forked from one of its children."""
    children = psutil.Process(pid).children()
    return [forked for child in children if "forkserver" in str(child.cmdline()) for forked in child.children()]


def _servers(pid: int) -> list[psutil.Process]:
    """The temporary servers among a process's children."""
    try:
        return [child for child in psutil.Process(pid).children() if str(API) in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def prefect_api(new_home):
    """A real Prefect server with a home of its own; yields (API URL, environment for its clients)."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    variables = environment(new_home()) | {"PREFECT_API_URL": url, "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: CLIENT.get(f"{url}/health").status_code == 200, 90, "the server did not come up")
        yield url, variables
    finally:
        _stop(process)


@pytest.mark.slow(45)
@pytest.mark.timeout(1200)
def test_serve_without_a_server_has_its_own_and_an_interruption_leaves_nothing_behind(tmp_path):
    """From a folder with another ``tasks.py``, which no process of ours may run."""
    port, root, here = free_port(), tmp_path / "served", tmp_path / "here"
    here.mkdir()
    (here / "tasks.py").write_text("raise SystemExit('a stranger was run')")
    url, log = f"http://127.0.0.1:{port}/api", (tmp_path / "serve.log").open("w")
    config = tmp_path / "small.yaml"
    config.write_text(json.dumps(load_config(ROOT / "configs" / "tiny.yaml", SMALL).model_dump(mode="json")))
    flags = [str(config), "--root", str(root), "--cron", "0 4 * * *"]
    serve = subprocess.Popen(
        [sys.executable, "-P", "-m", "flows.cli", "serve", *flags, "--port", str(port)],
        cwd=here,
        env=environment(tmp_path / "prefect") | {"PYTHONPATH": str(ROOT)},
        stdout=log,
        stderr=log,
    )
    try:
        _wait(lambda: len(_deployments(url)) == len(DEPLOYED), 200, "the deployments did not appear")
        served = {d["name"]: d for d in _deployments(url)}
        assert set(served) == DEPLOYED
        assert [s["schedule"]["cron"] for s in served["study"]["schedules"]] == ["0 4 * * *"]
        assert CLIENT.get(url.removesuffix("/api"), follow_redirects=True).status_code == 200
        run = _wait(lambda: _post(url, f"deployments/{served['collect']['id']}/create_flow_run"), 30, "no run was made")
        _wait(lambda: _state(url, run["id"]) in ENDED, 200, "the flow run did not end")
        assert _state(url, run["id"]) == "COMPLETED", Path(log.name).read_text()[-3000:]
        assert status(root)["done"]["collect"] == expected_units(root)["collect"]
        keys = {artifact["key"] for artifact in _post(url, "artifacts/filter")}
        assert {"tiny-collect-images", "tiny-collect-progress", "tiny-summary"} <= keys
        again = _wait(lambda: _post(url, f"deployments/{served['train']['id']}/create_flow_run"), 30, "no run was made")
        _wait(lambda: _state(url, again["id"]) == "RUNNING", 200, "the second run did not start")
        started = psutil.Process(serve.pid).children(recursive=True)
        serve.terminate()
        assert serve.wait(30) == 143
    finally:
        serve.kill()
        log.close()
    assert len(started) >= 2 and not psutil.wait_procs(started, timeout=10)[1]
    states = _states_in(tmp_path / "prefect" / "prefect.db")
    assert states[again["id"].replace("-", "")] == "CANCELLED"


def _states_in(database: Path) -> dict[str, str]:
    """Flow run id -> state, of a server that is gone."""
    with sqlite3.connect(database) as connection:
        return {
            str(i).replace("-", ""): state for i, state in connection.execute("select id, state_type from flow_run")
        }


@pytest.mark.slow(35)
def test_a_worker_runs_what_prefect_yaml_deploys(prefect_api, tmp_path):
    url, variables = prefect_api
    variables |= {"PREFECT_WORKER_QUERY_SECONDS": "1"}
    _post(url, "work_pools/", {"name": "atlas", "type": "process"})
    _prefect(variables, "--no-prompt", "deploy", "--all")
    deployed = {d["name"]: d for d in _deployments(url)}
    assert set(deployed) == DEPLOYED
    assert [s["schedule"]["cron"] for s in deployed["study"]["schedules"]] == ["0 3 * * *"]
    root = tmp_path / "worked"
    parameters = {"config_path": "configs/tiny.yaml", "root": str(root), "overrides": list(SMALL)}
    with (tmp_path / "worker.log").open("w") as out:
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "atlas", "--type", "process"]
        worker = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=out, stderr=subprocess.STDOUT)
    try:
        path = f"deployments/{deployed['collect']['id']}/create_flow_run"
        run = _wait(lambda: _post(url, path, {"parameters": parameters}), 30, "no run was made")
        _wait(lambda: _state(url, run["id"]) in ENDED, 120, "the flow run did not end")
        assert _state(url, run["id"]) == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    finally:
        _stop(worker)
    assert status(root)["done"]["collect"] == expected_units(root)["collect"]


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()


def _prefect(variables: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def _post(url: str, path: str, body: dict | None = None):
    """The answer's body. Raises ``httpx.HTTPError`` on a refusal: SQLite may be locked for a moment."""
    return CLIENT.post(f"{url}/{path}", json=body or {}).raise_for_status().json()


def _deployments(url: str) -> list[dict]:
    return _post(url, "deployments/filter")


def _state(url: str, run_id: str) -> str:
    return CLIENT.get(f"{url}/flow_runs/{run_id}").json()["state"]["type"]


def _wait(condition, seconds: float, otherwise: str):
    """What the condition gives once it is true; an answer that failed is asked for again."""
    end = time.time() + seconds
    while time.time() < end:
        try:
            if found := condition():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise AssertionError(otherwise)
