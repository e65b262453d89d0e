"""Parameters of deployments: refused before a run exists, or by the run's first act; two runs of one folder wait.

Flow runs are executed by Prefect's engine in forked processes; ``test_runners.py`` has workers start it.
"""

import time
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.deployments.runner import EntrypointType
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.stages import FLOWS
from flows.whole import study_flow
from storage.lock import writing
from study.status import expected_units, status
from tests.paths import ROOT
from tests.system import forked
from tests.system.conftest import SMALL

pytestmark = pytest.mark.system
TINY = str(ROOT / "configs" / "tiny.yaml")


@pytest.fixture
def api(served):
    """Asks the tests' server: a path and what is posted there, answered by (code, JSON)."""
    url = served["PREFECT_API_URL"]

    def post(path: str, **given):
        answer = httpx.post(f"{url}/{path}", json=given, timeout=60, trust_env=False)
        return answer.status_code, answer.json()

    with temporary_settings({PREFECT_API_URL: url}):
        yield post


def deployed(flow, name: str) -> str:
    """The id of a new deployment, made as `concepts serve` makes one."""
    deployment = flow.to_deployment(name, entrypoint_type=EntrypointType.MODULE_PATH)
    return str(deployment.apply())


def test_the_server_refuses_what_the_form_does_not_allow_before_a_run_exists(api, tmp_path):
    deployment = deployed(study_flow, "refusing")
    bad = [
        ({"root": " "}, "root"),
        ({"overrides": ["sae.k"]}, "overrides"),
        ({"config_path": None}, "config_path"),
    ]
    for wrong, named in bad:
        given = {"config_path": TINY, "root": str(tmp_path / "none")} | wrong
        code, answer = api(f"deployments/{deployment}/create_flow_run", parameters=given)
        assert code == 409 and named in str(answer), answer
    _, runs = api("flow_runs/filter", deployments={"id": {"any_": [deployment]}})
    assert runs == []


@pytest.mark.parametrize(
    ("name", "override", "said"),
    [
        ("study", "sae.kk=3", "unknown key 'sae.kk'; did you mean 'k'?"),
        ("study", "sae.k=[4096]", "sae.k"),
        ("train", "sae.epochs=1", "holds no study: run `concepts collect` or `concepts run` into it first"),
    ],
)
def test_what_cannot_work_ends_the_run_with_the_sentence_and_leaves_no_folder(
    api, forks, tmp_path, name, override, said
):
    root = tmp_path / "none"
    flow = {"study": study_flow, **FLOWS}[name]
    given = {"config_path": TINY, "root": str(root), "overrides": [override]}
    _, run = api(f"deployments/{deployed(flow, 'failing')}/create_flow_run", parameters=given)
    process = forked.start_engine(forks, run["id"], tmp_path)
    process.join(200)
    with get_client(sync_client=True) as client:
        ended = client.read_flow_run(run["id"])
    assert ended.state.type.value == "FAILED" and said in ended.state.message, Path(tmp_path, "err").read_text()
    assert not root.exists()


@pytest.mark.slow(40)
def test_two_runs_on_one_folder_wait_for_each_other_whatever_their_deployments(api, forks, tmp_path):
    """And for a third, which holds it as they begin. The work is done once, and who comes last finds it done."""
    root = tmp_path / "shared"
    given = {"config_path": TINY, "root": str(root), "overrides": list(SMALL)}
    deployments = [deployed(FLOWS["collect"], name) for name in ("one", "another")]
    runs = [api(f"deployments/{id_}/create_flow_run", parameters=given)[1]["id"] for id_ in deployments]
    with writing(root, "a third"):
        folders = [tmp_path / run for run in runs]
        for folder in folders:
            folder.mkdir()
        processes = [forked.start_engine(forks, *each) for each in zip(runs, folders, strict=True)]
        end = time.monotonic() + 200
        while len(_waiting(api, runs)) < 2:
            assert all(p.is_alive() for p in processes) and time.monotonic() < end, _logs(api, runs)
            time.sleep(0.5)
    for process in processes:
        process.join(400)
    said = [(folder / "err").read_text() for folder in folders]
    assert [process.exitcode for process in processes] == [0, 0], said
    with get_client(sync_client=True) as client:
        assert [client.read_flow_run(run).state.type.value for run in runs] == ["COMPLETED", "COMPLETED"]
    assert status(root)["done"]["collect"] == expected_units(root)["collect"]
    made = expected_units(root)["plan"] + expected_units(root)["collect"]
    end = time.monotonic() + 60
    while len(tasks := api("task_runs/filter", flow_runs={"id": {"any_": runs}}, limit=200)[1]) < made:
        assert time.monotonic() < end, tasks  # the server writes them down a while after they ended
        time.sleep(0.5)
    assert len({task["flow_run_id"] for task in tasks}) == 1 and len(tasks) == made
    assert len(list(Path(root, "tables", "runs").glob("*.parquet"))) == 1


def _logs(api, runs: list[str]) -> list[dict]:
    return api("logs/filter", logs={"flow_run_id": {"any_": runs}}, limit=200)[1]


def _waiting(api, runs: list[str]) -> set[str]:
    return {line["flow_run_id"] for line in _logs(api, runs) if line["message"].startswith("waiting for `a third`")}
