"""What an operator sees of a run in Prefect's UI, asked of the server that the UI asks."""

import shutil

import httpx
import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.system
TINY = str(ROOT / "configs" / "tiny.yaml")


def asked(served, path, **body):
    return httpx.post(f"{served['PREFECT_API_URL']}/{path}", json=body).raise_for_status().json()


def test_a_run_has_a_page_a_line_a_unit_and_nothing_of_it_on_stderr(copy, served, launch):
    root = copy.rename(copy.with_name("watched"))
    for stage in ("layout", "effects", "draw"):
        shutil.rmtree(root / "done" / stage)
    done = launch("run", TINY, "--root", str(root))
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
    nothing = "nothing to do: all 8 units are done"
    assert pages[runs["train-watched"]].startswith(f"# tiny: {nothing}\n")
    lines = [log["message"] for log in asked(served, "logs/filter", logs={"flow_run_id": ids})]
    assert nothing in lines
    assert sum(line.startswith("layout mid t=1.00 cond k=4: ") for line in lines) == 1
    assert sum(line.startswith("effects: ") and ", rows " in line for line in lines) == 1
    tasks = {run["name"] for run in asked(served, "task_runs/filter", flow_runs={"id": ids})}
    assert {"layout mid t=1.00 cond k=4", "layout up t=0.00 cond k=4", "effects", "draw"} == tasks - {
        "layout mid t=0.00 cond k=4", "layout up t=1.00 cond k=4",
    }  # fmt: skip
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
