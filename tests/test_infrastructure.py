"""What has to hold before anything runs: the pins, the deployments, the compose file."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version
from prefect.flows import load_flow_from_entrypoint

from flows import deployments
from flows.environment import PATIENT
from study.stages import COMMANDS, OPTIONAL
from tests.paths import ROOT

PREFECT = yaml.safe_load((ROOT / deployments.ONE_POOL).read_text())
TWO_POOLS = yaml.safe_load((ROOT / deployments.TWO_POOLS).read_text())
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, PACKAGES = SETTINGS["project"], SETTINGS["tool"]["setuptools"]["packages"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
# The settings of prefect-redis, which the server's image carries and the test environment need not.
REDIS_KEYS = {f"PREFECT_REDIS_MESSAGING_{name}" for name in ("HOST", "PORT", "DB")}


def test_the_pinned_versions_let_the_prefect_server_import():
    importlib.import_module("prefect.server.api.server")


SCHEDULE_A_RUN = """
import asyncio
from prefect.server import models, schemas
from prefect.server.database import provide_database_interface
from prefect.server.schemas.schedules import CronSchedule

async def main():
    db = provide_database_interface()
    await db.create_db()
    async with db.session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session, schemas.core.Flow(name="f"))
        schedule = schemas.core.DeploymentSchedule(schedule=CronSchedule(cron="0 3 * * *"), active=True)
        deployment = schemas.core.Deployment(name="d", flow_id=flow.id, schedules=[schedule])
        deployment = await models.deployments.create_deployment(session, deployment)
        print(len(await models.deployments.schedule_runs(session, deployment.id)))

asyncio.run(main())
"""


def test_the_pinned_sqlalchemy_lets_the_prefect_server_schedule_runs(tmp_path):
    # Of Prefect 3.8 with SQLAlchemy 2.1 the scheduler failed on every insert: flows ran, but no nightly run was made.
    database = f"sqlite+aiosqlite:///{tmp_path}/prefect.db"
    environment = os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    done = subprocess.run(
        [sys.executable, "-c", SCHEDULE_A_RUN], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-800:]
    assert int(done.stdout.split()[-1]) > 0


def test_every_constraint_is_an_exact_public_pin():
    assert [line for line in PINS if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line)] == []


def test_every_dependency_is_pinned_within_its_range():
    pins = {_canonical(name): pin for name, pin in (line.split("==") for line in PINS)}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["dev"], *extras["server"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[_canonical(requirement.name)]), text


def test_what_is_installed_is_what_is_pinned():
    differing = {}
    for name, pin in (line.split("==") for line in PINS):
        try:
            installed = version(name).split("+")[0]
        except PackageNotFoundError:  # of an extra that the tests do not need
            continue
        if installed != pin:
            differing[name] = (pin, installed)
    assert differing == {}


def test_every_lower_bound_is_the_version_that_is_tested():
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = {_canonical(name): pin for name, pin in (line.split("==") for line in lines if not line.startswith("#"))}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["dev"], *extras["bench"]]:
        requirement = Requirement(text)
        bounds = [one.version for one in requirement.specifier if one.operator == ">="]
        assert bounds, f"{text}: give its lowest version"
        assert Version(bounds[0]) == Version(pins[_canonical(requirement.name)]), text


HANGS = {
    "in Python": ("threading.Event().wait()", ("-o", "timeout=1"), "Timeout (>1.0s) from pytest-timeout"),
    "outside Python": ("sum(range(10**12))", ("-o", "timeout=1", "-o", "faulthandler_timeout=2"), "Timeout (0:00:02)!"),
}


@pytest.mark.parametrize("where", HANGS)
def test_a_test_that_hangs_is_ended_and_shows_where_it_was(tmp_path, where):
    call, sooner, says = HANGS[where]
    (tmp_path / "test_it.py").write_text(f"import threading\ndef test_it():\n    {call}\n")
    settings = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-n", "0", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *settings, *sooner, str(tmp_path / "test_it.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    told = done.stdout + done.stderr
    assert done.returncode != 0 and says in told and re.search(r'test_it\.py(:3:|", line 3 in)', told), told
    assert SETTINGS["tool"]["pytest"]["ini_options"]["timeout"] <= 600


def test_faults_are_a_command_of_their_own_which_ci_runs_with_all_that_they_need():
    recipes = dict(re.findall("^(test[a-z-]*): .*\n\t(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert '-m "not faults"' in SETTINGS["tool"]["pytest"]["ini_options"]["addopts"]
    assert recipes["test"].endswith("-m pytest") and " -n 2 --dist loadfile -m faults " in recipes["test-faults"]
    assert "and not faults" in recipes["test-fast"]  # its own -m takes the place of that in addopts
    commands = (ROOT / ".ci" / "run").read_text().splitlines()
    once_more = 'make test-faults || make test-faults ONLY="--last-failed -n 0"'
    assert [line for line in commands if line.startswith("make test")] == ["make test", once_more]
    assert recipes["test-faults"].endswith(" $(ONLY)")
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    steps = [step.get("run", "") for step in jobs["faults"]["steps"]]
    assert steps[-1] == "make test-faults" and steps[-2].endswith("install --yes postgresql redis-server")
    for page in ("README.md", "CONTRIBUTING.md"):
        assert "`make test-faults`" in (ROOT / page).read_text()


def test_coverage_is_of_every_room():
    (rooms,) = re.findall("^ROOMS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert rooms.split() == SETTINGS["tool"]["coverage"]["run"]["source_pkgs"] == PACKAGES


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("deployment", PREFECT["deployments"], ids=lambda d: d["name"])
def test_every_deployment_loads_and_its_parameters_fit(deployment):
    flow = load_flow_from_entrypoint(str(ROOT / deployment["entrypoint"]))  # as whoever runs the deployment loads it
    asked = {"edit": {"prompt": "a boat", "concept": ["boat"], "window": "early", "strength": 3}}
    of_study = deployment["name"] != "edit"  # which has no settings of its own: the form asks what is edited
    validated = flow.validate_parameters(deployment["parameters"] | ({} if of_study else asked))
    assert not of_study or (ROOT / validated["config_path"]).is_file()
    # The schema is what the form in Prefect's UI is made of: a changed parameter has to be a decision.
    schema = flow.to_deployment(name=deployment["name"], parameters=deployment["parameters"])._parameter_openapi_schema
    own = ["truth", "given"] if deployment["name"] == "bench" else []
    expected = ["config_path", "root", "overrides", *own] if of_study else ["root", "edit", "out", "overrides"]
    assert list(schema.properties) == expected
    assert schema.required == (["config_path", "root"] if of_study else ["root", "edit"])


def test_prefect_yaml_is_written_from_the_list_of_stages(tmp_path, capsys):
    assert deployments.main(["--check"]) == 0
    other = tmp_path / "prefect.yaml"
    other.write_text((ROOT / "prefect.yaml").read_text().replace("collect_flow", "other_flow"))
    assert deployments._compare(other) == deployments._compare(tmp_path / "none") == 1
    assert deployments._compare(ROOT / deployments.TWO_POOLS) == 0
    assert "`python -m flows.deployments --write` renews it" in capsys.readouterr().err
    assert deployments.main([]) == 2
    # Two runs are kept apart by their study's folder: one deployment may be at work on two.
    assert not [d["name"] for d in PREFECT["deployments"] if "concurrency_limit" in d]
    assert all(d["enforce_parameter_schema"] is True for d in PREFECT["deployments"])


def test_there_is_a_deployment_of_every_command_that_runs_stages():
    names = ["study", *COMMANDS, *OPTIONAL, "bench", "edit"]
    assert [deployment["name"] for deployment in PREFECT["deployments"]] == names


def test_the_file_of_two_pools_differs_in_the_pool_of_what_needs_a_device():
    apart = {d["name"]: d["work_pool"]["name"] for d in TWO_POOLS["deployments"]}
    assert [name for name, pool in apart.items() if pool == deployments.POOL] == ["figures"]
    assert set(apart.values()) == {deployments.POOL, deployments.GPU_POOL}
    together = [d | {"work_pool": d["work_pool"] | {"name": deployments.POOL}} for d in TWO_POOLS["deployments"]]
    assert together == PREFECT["deployments"]


LOAD = """
from prefect.flows import load_flow_from_entrypoint as load; import sys
name = load(sys.argv[1]).name
print(["torch" in sys.modules, name])
"""


@pytest.mark.parametrize("file", sorted({d["entrypoint"].split(":")[0] for d in PREFECT["deployments"]}))
def test_a_worker_can_load_what_is_deployed(file):
    """In a process that has imported nothing of ours: Prefect takes a file's bare name for its module's.

    And without the model libraries: who serves a flow would wait for them.
    """
    entrypoint = next(d["entrypoint"] for d in PREFECT["deployments"] if d["entrypoint"].startswith(f"{file}:"))
    done = subprocess.run([sys.executable, "-c", LOAD, entrypoint], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-800:]
    assert done.stdout == f"{[False, entrypoint.split(':')[1].removesuffix('_flow')]}\n"


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

    services = COMPOSE["services"].values()
    keys = {key for service in services for key in service.get("environment", {}) if key.startswith("PREFECT_")}
    assert keys and keys <= set(_get_settings_fields(Settings)) | REDIS_KEYS


def test_every_published_port_is_bound_to_loopback():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_the_automations_are_ones_that_a_prefect_server_accepts():
    from prefect.server.events.schemas.automations import AutomationCore

    from flows import automations

    rules = [AutomationCore.model_validate(rule.model_dump(mode="json")) for rule in automations.automations()]
    assert len({rule.name for rule in rules}) == 3
    assert automations.SILENT_SECONDS >= 3 * automations.HEARTBEAT_SECONDS
    worker, init = COMPOSE["services"]["worker"], COMPOSE["services"]["init"]
    assert worker["environment"].items() >= PATIENT.items()
    assert int(worker["environment"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == automations.HEARTBEAT_SECONDS
    for deployment in PREFECT["deployments"] + TWO_POOLS["deployments"]:  # however its worker was started
        given = deployment["work_pool"]["job_variables"]["env"]
        assert int(given["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]) == automations.HEARTBEAT_SECONDS
        assert given.items() >= PATIENT.items()
    assert "concepts setup" in json.dumps(init["command"])
    # The rules know our runs by this tag.
    assert all(automations.TAG in deployment["tags"] for deployment in PREFECT["deployments"])


def test_no_path_of_a_machine_is_in_the_project():
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split("\0"):
        path = ROOT / name
        if not name or not path.is_file() or path == Path(__file__):
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:  # weights, tables and pictures
            continue
        assert not re.search(r"(?<![\w.~}])/(home|root|work)/", text), name


def _said(tree: ast.AST) -> list[str]:
    """Every text of a module that is no documentation of its own: messages, and parts of them."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    bodies = [n.body[0] for n in ast.walk(tree) if isinstance(n, documented) and n.body]
    own = {id(first.value) for first in bodies if isinstance(first, ast.Expr)}
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return [text.value for text in texts if id(text) not in own]


@pytest.mark.parametrize("package", [p for p in PACKAGES if p != "miniature"])
def test_no_message_advises_deleting_anything(package):
    # Whoever follows such advice loses results; `concepts repair`, `concepts revise` or another --root is the way out.
    said = [text for file in (ROOT / package).rglob("*.py") for text in _said(ast.parse(file.read_text()))]
    assert said and [text for text in said if " " in text and re.search(r"\b(delete|rm -)", text, re.I)] == []


def test_no_module_has_more_than_400_lines():
    """A file that passes them is asking to be two."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True)
    modules = listed.stdout.split() or [str(path) for path in ROOT.glob("*/*.py")]  # of a checkout without git
    long = {name: lines for name in modules if (lines := len((ROOT / name).read_text().splitlines())) > 400}
    assert long == {}
