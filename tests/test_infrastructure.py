"""What has to hold before anything runs: the pins, the deployments, the compose file."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT

PREFECT = yaml.safe_load((ROOT / "prefect.yaml").read_text())


def test_the_pinned_fastapi_lets_the_prefect_server_import():
    importlib.import_module("prefect.server.api.server")


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=lambda d: d["name"])
def test_every_deployment_loads_and_its_parameters_fit(deployment):
    file, name = deployment["entrypoint"].split(":")
    flow = getattr(importlib.import_module(file.removesuffix(".py").replace("/", ".")), name)
    validated = flow.validate_parameters(deployment["parameters"])
    assert (ROOT / validated["config_path"]).is_file()


def test_the_schedule_is_a_cron_that_prefect_accepts():
    from prefect.client.schemas.schedules import CronSchedule

    schedules = [s for d in PREFECT["deployments"] for s in d.get("schedules", [])]
    assert [CronSchedule(**s).cron for s in schedules] == ["0 3 * * *"]


def test_the_compose_file_follows_the_specification():
    command = ["--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    tool = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run([str(tool), *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_prefect_key_in_compose_is_a_setting():
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(Settings))
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    keys = {key for service in services for key in service.get("environment", {}) if key.startswith("PREFECT_")}
    # The Redis keys are settings of prefect-redis, which the server's image carries.
    assert {key for key in keys if not key.startswith("PREFECT_REDIS_")} <= known and keys


def test_no_path_of_a_machine_is_in_the_project():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    for name in listed.split():
        if Path(name).suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".json"} and name != str(
            Path(__file__).relative_to(ROOT)
        ):
            text = (ROOT / name).read_text()
            assert "/home/" not in text and "/root/" not in text, name
