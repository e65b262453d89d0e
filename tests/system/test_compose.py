"""The services of docker-compose.yml, started for real: a study through a deployment, equal to the host's own.

It builds the image, so it runs where it is asked for: ``make test-compose``, and in CI where a Docker engine is.
"""

import os
import shutil
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
    pytest.mark.skipif(
        not os.environ.get("TEST_COMPOSE"), reason="builds an image: `make test-compose` where a Docker engine is"
    ),
]
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The running services: (URL of the UI, the folder of studies, a function that runs ``docker compose``)."""
    runs, port = tmp_path_factory.mktemp("compose") / "runs", free_port()
    sha = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    variables = os.environ | {
        "GIT_SHA": sha,
        "ATLAS_RUNS": str(runs),  # not there: Docker makes it, as root
        "ATLAS_UI_PORT": str(port),
        "ATLAS_DASK_PORT": str(free_port()),
        "ATLAS_UID": "1234",  # a user that the image does not know
        "ATLAS_GID": "1234",
    }

    def compose(*arguments: str) -> str:
        command = ["docker", "compose", "--project-name", "concept-atlas-test", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=3000)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    try:
        compose("up", "--build", "--detach", "--wait")
        yield f"http://127.0.0.1:{port}", runs, compose
    finally:
        compose("down", "--volumes", "--timeout", "5")
        shutil.rmtree(runs, ignore_errors=True)


def test_the_ui_and_the_api_answer_and_nothing_is_sent_away(stack):
    url, _, _ = stack
    page = httpx.get(url, headers={"Accept": "text/html"}, follow_redirects=True)
    assert page.status_code == 200 and "<title>Prefect" in page.text
    assert httpx.get(f"{url}/api/health").json() is True
    assert httpx.get(f"{url}/ui-settings").json()["api_url"] == f"{url}/api"


def test_every_service_runs(stack):
    _, _, compose = stack
    running = set(compose("ps", "--services", "--status", "running").split())
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert running == set(services) - {"init", "folders", "worker-gpu"}  # those have done their work, or have no GPU


@pytest.mark.parametrize("runner", ["thread", "dask"])
def test_a_deployed_study_equals_the_hosts(stack, tiny_study, runner):
    url, runs, compose = stack
    given = ["run.task_runner=dask", "run.dask_address=tcp://dask-scheduler:8786"] if runner == "dask" else []
    name = f"tiny-{runner}"
    parameters = {"config_path": "configs/tiny.yaml", "root": f"runs/{name}", "overrides": given}
    deployment = httpx.get(f"{url}/api/deployments/name/study/study").raise_for_status().json()
    path = f"{url}/api/deployments/{deployment['id']}/create_flow_run"
    run = httpx.post(path, json={"parameters": parameters}).raise_for_status().json()
    end = time.time() + 1800
    while (state := httpx.get(f"{url}/api/flow_runs/{run['id']}").json()["state"])["type"] not in ENDED:
        assert time.time() < end, state
        time.sleep(2)
    assert state["type"] == "COMPLETED", compose("logs", "--tail", "100", "worker")
    assert verify(runs / name) == []
    assert table_hashes(runs / name) == table_hashes(tiny_study)
    known = yaml.safe_load((runs / name / "study.yaml").read_text())
    assert known["git_sha"] and len(known["git_sha"]) == 40
    assert (runs / name / "study.yaml").stat().st_uid == 1234
