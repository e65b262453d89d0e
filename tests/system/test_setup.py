"""``concepts setup`` on a real server: everything once, nothing twice, what its operator changed left alone; chains."""

import os
import subprocess
import sys
import time
from itertools import pairwise

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Completed, Failed

from flows import cli
from flows.automations import automations
from flows.deployments import GPU_POOL, POOL, TWO_POOLS
from flows.server import own_server
from flows.setting_up import BLOCK, NOWHERE, set_up
from study.errors import StudyError
from tests.paths import ROOT

pytestmark = pytest.mark.system
STAGES = ["collect", "train", "label", "layout", "intervene", "figures"]


@pytest.fixture(scope="module")
def url(new_home):
    """The address of a server with all its services."""
    home = new_home()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        with (
            temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}),
            own_server(ui_port=0) as url,
            temporary_settings({PREFECT_API_URL: url}),
        ):
            yield url


def ask(url: str, path: str, **given):
    return httpx.post(f"{url}/{path}", json=given, trust_env=False, timeout=60).json()


def kept(url: str) -> list:
    """All that a set-up makes, with ids and times."""
    paths = ("automations/filter", "work_pools/filter", "block_documents/filter")
    return [sorted(ask(url, path, limit=100), key=lambda one: one["id"]) for path in paths]


def runs_of(url: str, deployment: str) -> list:
    return ask(url, "flow_runs/filter", deployments={"id": {"any_": [deployment]}})


def due_in(url: str, pool: str) -> set[str]:
    """The runs that a worker of a pool would be given by the next minute."""
    minute = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    given = ask(url, f"work_pools/{pool}/get_scheduled_flow_runs", scheduled_before=minute)
    return {one["flow_run"]["id"] for one in given}


def rule_of(client, words: str):
    (rule,) = [rule for rule in client.read_automations() if words in rule.name]
    return rule


def test_a_second_set_up_changes_nothing_and_the_first_says_what_is_left_to_do(url):
    first = set_up(False)
    made, pools, blocks = before = kept(url)
    assert sorted(rule["name"] for rule in made) == sorted(
        [*(rule.name for rule in automations()), "concept-atlas: failed runs are told"]
    )
    assert [(pool["name"], pool["type"]) for pool in pools] == [(POOL, "process")] and pools[0]["base_job_template"]
    assert [block["name"] for block in blocks] == [BLOCK] and blocks[0]["data"]["url"] == NOWHERE
    assert [rule["name"] for rule in made if not rule["enabled"]] == ["concept-atlas: failed runs are told"]
    assert sum(line.endswith(": made") for line in first) == 5
    assert f"give the block {BLOCK} the address" in first[-2] and "runs that ended 90 days ago" in first[-1]
    second = set_up(False)
    assert sum(line.endswith(": there") for line in second) == 5 and second[-2:] == first[-2:]
    assert kept(url) == before


def test_what_the_operator_fills_in_and_turns_on_stays_so_and_a_rule_that_differs_is_renewed(url):
    set_up(False)
    with get_client(sync_client=True) as client:
        block = client.read_block_document_by_name(BLOCK, "custom-webhook")
        filled = block.data | {"url": "http://127.0.0.1:9/ours"}
        httpx.patch(f"{url}/block_documents/{block.id}", json={"data": filled}, trust_env=False, timeout=60)
        client.resume_automation(rule_of(client, "failed runs").id)
        client.delete_automation(rule_of(client, "started again").id)
        earlier = {"description": "of an earlier version", "enabled": False}
        client.create_automation(automations()[-1].model_copy(update=earlier))
        lines = set_up(False)
        assert f"failures are told as the block {BLOCK} says" in lines
        assert client.read_block_document_by_name(BLOCK, "custom-webhook").data["url"].endswith("/ours")
        assert rule_of(client, "failed runs").enabled
        renewed = rule_of(client, "started again")
        assert not renewed.enabled and "what was finished is kept" in renewed.description.lower()
        assert [line for line in lines if line.endswith(": renewed")] == [f"{renewed.name}: renewed"]


@pytest.fixture(scope="module")
def two_pools(url) -> dict[str, str]:
    """What prefect-gpu.yaml deploys: the ids by name."""
    assert {f"work pool {POOL}: there", f"work pool {GPU_POOL}: made"} <= set(set_up(False, with_gpu_pool=True))
    deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", TWO_POOLS]
    given = os.environ | {"PREFECT_API_URL": url}
    done = subprocess.run(deploy, cwd=ROOT, env=given, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return {one["name"]: one["id"] for one in ask(url, "deployments/filter")}


def test_a_chain_without_deployments_is_refused_and_nothing_is_made(url):
    set_up(False)
    before = kept(url)
    with pytest.raises(
        StudyError, match="no deployment collect/collect, which a chain needs: run `prefect --no-prompt"
    ):
        set_up(True)
    assert kept(url) == before


def test_a_finished_stage_starts_the_next_with_its_parameters_in_the_pool_that_it_needs(url, two_pools, tmp_path):
    ids = two_pools
    chained = [line for line in set_up(True) if "chain" in line]
    assert [line.removesuffix(": made").partition("chain: ")[2] for line in chained] == [
        f"{after} follows {name}" for name, after in pairwise(STAGES)
    ]
    before = kept(url)
    set_up(True)
    assert kept(url) == before
    given = {"config_path": "configs/tiny.yaml", "root": str(tmp_path / "a b"), "overrides": ["name='it''s {{ x }}'"]}
    plain = {"config_path": "configs/mini.yaml", "root": "runs/mini"}
    with get_client(sync_client=True) as client:
        for parameters, state in ((given, Completed()), (plain, Completed()), (plain, Failed())):
            # By the client, which asks again where the server's SQLite is busy (503).
            run = client.create_flow_run_from_deployment(ids["collect"], parameters=parameters)
            client.set_flow_run_state(run.id, state, force=True)
        edited = client.create_flow_run_from_deployment(ids["intervene"], parameters=plain)
        client.set_flow_run_state(edited.id, Completed(), force=True)
    end = time.monotonic() + 120
    while len(runs := runs_of(url, ids["train"])) < 2 or not (drawn := runs_of(url, ids["figures"])):
        assert time.monotonic() < end, runs
        time.sleep(0.5)
    time.sleep(3)  # for one more, of the run that failed
    runs = runs_of(url, ids["train"])
    expected = [given, plain | {"overrides": None}]
    assert sorted((run["parameters"] for run in runs), key=str) == sorted(expected, key=str)
    assert {run["state_type"] for run in runs} == {"SCHEDULED"}
    assert [runs_of(url, ids[name]) for name in ("label", "layout")] == [[], []]
    assert [run["parameters"] for run in drawn] == expected[1:]
    # Who asks for runs of the one pool is never given those of the other.
    assert due_in(url, GPU_POOL) == {run["id"] for run in runs} and due_in(url, POOL) == {run["id"] for run in drawn}


def test_a_set_up_without_a_server_is_one_sentence(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    with temporary_settings({PREFECT_HOME: tmp_path}, restore_defaults={PREFECT_API_URL}):
        assert cli.main(["setup"]) == 2
    assert "no server to be set up: start one (`concepts server`)" in capsys.readouterr().err
