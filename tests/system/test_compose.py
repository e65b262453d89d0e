"""The services of docker-compose.yml, started for real: a study through a deployment, equal to the host's own.

It builds the image, so it runs where it is asked for: ``make test-compose``, and in CI where a Docker engine is. Other
images than the file's (a mirror's, say) are given as it takes them: PYTHON_IMAGE, POSTGRES_IMAGE, REDIS_IMAGE.
"""

import json
import os
import subprocess
import time

import httpx
import pytest
import yaml

from storage.inspect import table_hashes
from study.verify import verify
from tests.paths import ROOT
from tests.ports import free_port

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        not os.environ.get("TEST_COMPOSE"), reason="builds an image: `make test-compose` where a Docker engine is"
    ),
]
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
NAMES = {
    name
    for name, service in yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].items()
    if name != "init" and "profiles" not in service
}
LOGIN = ("operator", "pass:word/1")
# Characters that mean something in an address, in YAML and to Compose ($$ is its $).
PASSWORD = "p@ss/w:ord#1 %41'$$x"


def docker(*arguments: str, of: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["docker", *arguments], cwd=ROOT, env=os.environ | (of or {}), capture_output=True, text=True, timeout=3000
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """The variables of a stack beside all others: folders and ports of its own, a user that the image does not know."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("runs", "data", "models"):
        (folder / name).mkdir()
    os.chown(folder / "runs", 1234, 1234)
    sha = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {
        "COMPOSE_PROJECT_NAME": "concept-atlas-test",
        "GIT_SHA": sha,
        "POSTGRES_PASSWORD": PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": ":".join(LOGIN),
        "PREFECT_API_AUTH_STRING": ":".join(LOGIN),
        "ATLAS_RUNS": str(folder / "runs"),
        "ATLAS_DATA": str(folder / "data"),
        "ATLAS_MODELS": str(folder / "models"),
        "ATLAS_UI_PORT": str(free_port()),
        "ATLAS_DASK_PORT": str(free_port()),
        "ATLAS_UID": "1234",
        "ATLAS_GID": "1234",
    }


@pytest.fixture(scope="module")
def stack(settings):
    """The running services: a function that runs ``docker compose`` and returns what it says."""

    def compose(*arguments: str) -> str:
        done = docker("compose", *arguments, of=settings)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    try:
        compose("up", "--build", "--detach", "--wait")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "20")


@pytest.fixture(scope="module")
def server(settings):
    """A client of the server, as the operator."""
    with httpx.Client(base_url=f"http://127.0.0.1:{settings['ATLAS_UI_PORT']}", auth=LOGIN, timeout=60) as client:
        yield client


def health(compose) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in compose("ps", "--format", "json").splitlines():
        one = json.loads(line)
        found.setdefault(one["Service"], set()).add(one["Health"])
    return found


@pytest.mark.parametrize("password", [None, ""])
def test_without_a_password_of_the_database_nothing_starts(settings, password):
    given = settings | {"POSTGRES_PASSWORD": password or "", "COMPOSE_DISABLE_ENV_FILE": "1"}
    done = docker("compose", "up", "--no-build", "--detach", of=given)
    assert done.returncode != 0
    assert "the database has no password: copy .env.example to .env and write one there" in done.stderr


def test_a_folder_that_is_not_there_is_refused_and_not_made(stack, settings, tmp_path):
    given = settings | {"ATLAS_RUNS": str(tmp_path / "nowhere"), "COMPOSE_PROJECT_NAME": "concept-atlas-nowhere"}
    try:
        done = docker("compose", "run", "--rm", "--no-deps", "dask-scheduler", "true", of=given)
    finally:
        docker("compose", "down", "--volumes", of=given)
    assert done.returncode != 0 and "bind source path does not exist" in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_written_is_a_sentence_of_the_first_service(stack, settings):
    done = docker("compose", "run", "--rm", "--no-deps", "init", of=settings | {"ATLAS_UID": "4321"})
    assert done.returncode == 1
    assert "the folder of studies (ATLAS_RUNS) cannot be written by user 4321" in done.stderr


def test_the_ui_and_the_api_answer_who_has_the_password_and_nothing_is_sent_away(stack, server):
    page = server.get("/", headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 200 and "<title>Prefect" in page.text
    assert server.get("/ui-settings").json()["api_url"] == f"{server.base_url}/api"
    assert server.get("/api/admin/version").status_code == 200
    assert httpx.get(f"{server.base_url}/api/admin/version").status_code == 401
    assert httpx.get(f"{server.base_url}/api/health").json() is True


def test_every_service_is_well(stack):
    assert health(stack) == {name: {"healthy"} for name in NAMES}


def test_no_container_is_root_or_can_become_it_and_each_has_its_limits(stack):
    ids = stack("ps", "--quiet").split()
    assert len(ids) >= len(NAMES)
    for container in json.loads(docker("inspect", *ids).stdout):
        host, name = container["HostConfig"], container["Name"]
        assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"] and not host["Privileged"], name
        assert host["Memory"] > 0 and host["NanoCpus"] > 0 and host["PidsLimit"] > 0, name
        bound = [one["HostIp"] for ports in (host["PortBindings"] or {}).values() for one in ports]
        assert set(bound) <= {"127.0.0.1"}, name


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_process_in_it_has_no_privilege_and_nowhere_to_write(stack, name):
    look = (
        "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status | cut -f2; touch /usr/x 2>&1; touch /etc/x 2>&1"
    )
    user, *kept = stack("exec", "-T", name, "sh", "-c", f"{look}; true").split("\n")
    assert user != "0" and kept[:3] == ["0000000000000000", "0000000000000000", "1"], kept
    assert [line.endswith("Read-only file system") for line in kept[3:5]] == [True, True], kept


def test_work_does_not_reach_the_database(stack):
    look = "import socket; socket.create_connection(('postgres', 5432), 5)"
    assert stack("exec", "-T", "prefect-server", "python", "-c", look) == ""
    with pytest.raises(AssertionError, match="gaierror"):
        stack("exec", "-T", "worker", "python", "-c", look)


@pytest.mark.parametrize("runner", ["thread", "dask"])
def test_a_deployed_study_equals_the_hosts(stack, server, settings, tiny_study, runner):
    given = ["run.task_runner=dask", "run.dask_address=tcp://dask-scheduler:8786"] if runner == "dask" else []
    name = f"tiny-{runner}"
    parameters = {"config_path": "configs/tiny.yaml", "root": f"runs/{name}", "overrides": given}
    deployment = server.get("/api/deployments/name/study/study").raise_for_status().json()
    path = f"/api/deployments/{deployment['id']}/create_flow_run"
    run = server.post(path, json={"parameters": parameters}).raise_for_status().json()
    end = time.time() + 1800
    while (state := server.get(f"/api/flow_runs/{run['id']}").json()["state"])["type"] not in ENDED:
        assert time.time() < end, state
        time.sleep(2)
    assert state["type"] == "COMPLETED", stack("logs", "--tail", "100", "worker")
    root = ROOT / settings["ATLAS_RUNS"] / name
    assert verify(root) == []
    assert table_hashes(root) == table_hashes(tiny_study)
    known = yaml.safe_load((root / "study.yaml").read_text())
    assert known["git_sha"] == settings["GIT_SHA"]
    assert (root / "study.yaml").stat().st_uid == 1234


def test_the_nightly_run_is_made_by_the_services(stack, server):
    due = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    assert [run["auto_scheduled"] for run in server.post("/api/flow_runs/filter", json=due).json()][:1] == [True]


def test_the_gpus_profile_moves_what_needs_a_device_and_a_start_without_it_moves_it_back(stack, server):
    def pools() -> dict[str, str]:
        known = server.post("/api/deployments/filter", json={}).raise_for_status().json()
        return {one["name"]: one["work_pool_name"] for one in known}

    before = pools()
    assert set(before.values()) == {"atlas"}
    try:
        stack("run", "--rm", "--no-deps", "init-gpu")
        moved = pools()
        assert moved.keys() == before.keys() and moved["study"] == "atlas-gpu" and moved["figures"] == "atlas"
    finally:
        stack("run", "--rm", "--no-deps", "init")
    assert pools() == before


# Every process but the first and the one that asks: the first is Docker's, which only passes signals on.
STOP = """
import os, signal
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()):
        os.kill(int(name), signal.{signal})
"""


@pytest.mark.parametrize("name", ["prefect-server", "prefect-services", "worker", "dask-scheduler"])
def test_a_service_that_hangs_is_told_from_one_that_is_well(stack, name):
    # Last, for it waits for several checks to fail. Those that come while it lasts are ended by their time limit.
    stack("exec", "-T", name, "python", "-c", STOP.format(signal="SIGSTOP"))
    try:
        _wait(lambda: health(stack)[name] == {"unhealthy"}, 300)
    finally:
        stack("exec", "-T", name, "python", "-c", STOP.format(signal="SIGCONT"))
    _wait(lambda: health(stack)[name] == {"healthy"}, 120)


def _wait(reached, seconds: float) -> None:
    end = time.time() + seconds
    while not reached():
        assert time.time() < end
        time.sleep(2)
