"""What an operator sees of a run in Prefect's UI, asked of the server that the UI asks."""

import json
import shutil
import socket
import subprocess

import httpx
import pytest

from tests.paths import ROOT
from tests.system.conftest import concepts

pytestmark = pytest.mark.system
TINY = str(ROOT / "configs" / "tiny.yaml")


def asked(served, path, **body):
    return httpx.post(f"{served['PREFECT_API_URL']}/{path}", json=body).raise_for_status().json()


@pytest.mark.slow
def test_a_run_has_a_page_a_line_a_unit_and_nothing_of_it_on_stderr(copy, served):
    root = copy.rename(copy.with_name("watched"))
    for stage in ("layout", "effects", "draw"):
        shutil.rmtree(root / "done" / stage)
    done = subprocess.run(
        concepts("run", TINY, "--root", str(root)), cwd=ROOT, env=served, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "layout mid t=1.00" not in done.stdout + done.stderr
    runs = {run["name"]: run["id"] for run in asked(served, "flow_runs/filter") if run["name"].endswith("-watched")}
    ids = {"any_": list(runs.values())}
    found = asked(served, "artifacts/filter", artifacts={"flow_run_id": ids, "key": {"any_": ["tiny-summary"]}})
    pages = {artifact["flow_run_id"]: artifact["data"] for artifact in found}
    assert len(pages) == len(found) == len(runs) == 7
    whole = pages[runs["study-watched"]]
    ui = served["PREFECT_API_URL"].removesuffix("/api")
    assert whole.startswith("# tiny: finished\n") and f"| folder | `{root}` |" in whole
    assert f"| layout | 4 | 4 | [layout]({ui}/runs/flow-run/{runs['layout-watched']}) |" in whole
    assert "| stage | draw: 1 of 1 unit, " in whole and "(activations.zarr " in whole
    assert "![Edited images, the last: prompt " in whole and len(whole) < 100_000
    nothing = "nothing to do: all 8 units are done"
    assert pages[runs["train-watched"]].startswith(f"# tiny: {nothing}\n")
    lines = [log["message"] for log in asked(served, "logs/filter", logs={"flow_run_id": ids})]
    assert nothing in lines
    assert sum(line.startswith("layout mid t=1.00 cond k=4: ") for line in lines) == 1
    assert sum(line.startswith("effects: ") and ", rows " in line for line in lines) == 1
    names = {run["name"] for run in asked(served, "task_runs/filter", flow_runs={"id": ids})}
    assert {f"layout {block} t={t} cond k=4" for block in ("mid", "up") for t in ("1.00", "0.00")} <= names
    assert {"effects", "draw"} <= names and not any("/" in name for name in names)
    told = asked(served, "artifacts/filter", artifacts={"flow_run_id": ids, "type": {"any_": ["progress"]}})
    assert any(
        one["key"] == "tiny-layout-progress" and one["description"].startswith("layout: 4 of 4 units, ") for one in told
    )


def test_a_run_that_breaks_off_says_why_on_its_page(copy, served, launch):
    root = copy.rename(copy.with_name("broken"))
    shutil.rmtree(root / "done" / "layout")
    part = next((root / "tables" / "concept_labels").glob("*.parquet"))
    part.write_bytes(b"spoilt")
    assert launch("layout", TINY, "--root", str(root)).returncode == 2
    [run] = [run for run in asked(served, "flow_runs/filter") if run["name"] == "layout-broken"]
    artifacts = {"flow_run_id": {"any_": [run["id"]]}, "key": {"any_": ["tiny-summary"]}}
    [page] = asked(served, "artifacts/filter", artifacts=artifacts)
    assert page["data"].startswith("# tiny: it broke off (") and str(part) in page["data"].splitlines()[0]


def test_json_lines_take_the_place_of_progress_on_stderr(copy, served):
    root = copy.rename(copy.with_name("lines"))
    (root / "done" / "effects" / "all.json").unlink()
    command = concepts("intervene", TINY, "--root", str(root), "--set", "run.log_format=json")
    done = subprocess.run(command, cwd=ROOT, env=served, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["study"] for line in lines} == {"tiny"}
    [unit] = [line for line in lines if line["message"].startswith("effects: ")]
    assert (unit["level"], unit["stage"], unit["unit"]) == ("INFO", "effects", "effects")


def test_a_taken_port_for_metrics_is_one_sentence_before_the_run_begins(copy, launch):
    (copy / "done" / "effects" / "all.json").unlink()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = launch("intervene", TINY, "--root", str(copy), "--set", f"run.metrics_port={port}")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"concepts: run.metrics_port: port {port} of this machine cannot be listened on (")
    assert done.stderr.count("\n") == 1 and not (copy / "done" / "effects" / "all.json").exists()
