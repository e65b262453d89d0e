"""What docker-compose.yml and the Dockerfile promise, held against the files; test_compose.py starts them."""

import http.server
import re
import runpy
import subprocess
import sys
import threading

import pytest
import yaml

from flows.deployments import GPU_POOL, POOL, TWO_POOLS
from tests.paths import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
STAYING = {name: service for name, service in SERVICES.items() if service["restart"] != "no"}
PIN = r"[a-z]+:\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}"


def test_every_image_of_others_is_pinned_by_digest_and_can_be_another():
    given = {name: service["image"] for name, service in SERVICES.items() if "build" not in service}
    assert set(given) == {"postgres", "redis"}
    assert all(re.fullmatch(r"\$\{[A-Z]+_IMAGE:-" + PIN + r"\}", image) for image in given.values()), given
    (default,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(PIN, default)
    builds = [service["build"]["args"]["PYTHON_IMAGE"] for service in SERVICES.values() if "build" in service]
    assert set(builds) == {"${PYTHON_IMAGE:-" + default + "}"}


def test_the_images_of_ours_have_an_exact_version():
    images = {service["image"] for service in SERVICES.values() if "build" in service}
    assert images == {"concept-atlas:0.1.0", "concept-atlas:0.1.0-gpu"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_root_writes_its_image_or_is_without_limits(name):
    service = SERVICES[name]
    assert re.match(r"\d*[1-9]|\$\{ATLAS_UID:-1000\}", service["user"])
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert {"mem_limit", "cpus", "pids_limit"} <= set(service)
    assert service["logging"]["options"]["max-size"]


def test_every_service_that_stays_has_a_health_check_and_is_started_again():
    assert set(SERVICES) - set(STAYING) == {"init", "init-gpu"}
    assert [name for name, service in STAYING.items() if service["restart"] != "unless-stopped"] == []
    assert [name for name, service in STAYING.items() if not service["healthcheck"]["test"]] == []


def test_the_database_has_no_password_of_ours_and_is_reached_by_the_server_alone():
    assert set(re.findall(r"\$\{POSTGRES_PASSWORD(.?.?)", TEXT)) == {":?"}
    on_network = {name for name, service in SERVICES.items() if "database" in service.get("networks", [])}
    assert on_network == {"postgres", "redis", "prefect-server", "prefect-services"}
    assert yaml.safe_load(TEXT)["networks"]["database"] == {"internal": True}


def test_the_password_stays_out_of_git_and_of_the_image():
    assert ".env" in (ROOT / ".dockerignore").read_text().split()
    ignored = subprocess.run(["git", "-C", str(ROOT), "check-ignore", ".env", ".env.example"], capture_output=True)
    assert ignored.returncode == 128 or ignored.stdout.split() == [b".env"]  # 128: a checkout without git
    assert "\nPOSTGRES_PASSWORD=\n" in (ROOT / ".env.example").read_text()


def test_every_variable_that_compose_reads_is_in_the_documentation():
    page = (ROOT / "docs" / "operating.md").read_text()
    read = set(re.findall(r"\$\{([A-Z_]+)", TEXT))
    assert len(read) > 12 and [name for name in read if f"`{name}`" not in page] == []


def test_workers_ask_the_pools_that_there_are():
    asked = {name: re.findall(r"--pool (\S+)", str(service.get("command", ""))) for name, service in SERVICES.items()}
    assert {name: pools for name, pools in asked.items() if pools} == {"worker": [POOL], "worker-gpu": [GPU_POOL]}


def test_with_the_gpus_worker_runs_that_need_a_device_move_to_its_pool_before_it_starts():
    assert {name for name, service in SERVICES.items() if service.get("profiles")} == {"init-gpu", "worker-gpu"}
    assert (
        f"concepts setup --gpu && prefect --no-prompt deploy --all --prefect-file {TWO_POOLS}"
        in (SERVICES["init-gpu"]["command"])
    )
    after = {name: set(SERVICES[name]["depends_on"]) for name in ("init-gpu", "worker-gpu")}
    assert after == {"init-gpu": {"init"}, "worker-gpu": {"init-gpu"}}


class Answers(http.server.BaseHTTPRequestHandler):
    """200 for /well, 503 for all else."""

    def do_GET(self):
        self.send_response(200 if self.path == "/well" else 503)
        self.end_headers()

    def log_message(self, *_):
        """Nothing."""


def test_a_health_check_says_what_is_wrong():
    trouble = runpy.run_path(str(ROOT / "deploy" / "health.py"))["trouble"]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert trouble(f"{url}/well") is None
        assert "503" in trouble(f"{url}/ill")
        server.shutdown()
    assert "does not answer" in trouble(f"{url}/well")


@pytest.mark.parametrize(
    ("user", "writable", "said"),
    [(0, True, "would belong to root"), (1234, False, "cannot be written by user 1234"), (1234, True, None)],
)
def test_the_folder_of_studies_is_looked_at_before_anything_is_deployed(monkeypatch, user, writable, said):
    trouble = runpy.run_path(str(ROOT / "deploy" / "health.py"))["trouble"]
    monkeypatch.setattr("os.getuid", lambda: user)
    monkeypatch.setattr("os.access", lambda *_: writable)
    found = trouble("folders")
    assert found is None if said is None else said in found


def test_a_health_check_that_fails_is_an_exit_code_and_a_sentence():
    command = [sys.executable, str(ROOT / "deploy" / "health.py"), "http://127.0.0.1:9/"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "does not answer" in done.stderr and "Traceback" not in done.stderr
