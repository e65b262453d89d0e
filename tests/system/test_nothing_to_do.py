"""A finished study is said to be finished, from its records, without a server, a model or a library that loads one."""

import json
import shutil
import subprocess
import sys

import httpx
import pytest

from flows.cli import main
from storage.records import forget_record
from study.config import load_config
from study.opening import open_existing, open_or_create
from study.stages import COMMANDS
from study.undone import done_units
from tests.paths import ROOT

pytestmark = pytest.mark.system
TINY = str(ROOT / "configs" / "tiny.yaml")
HEAVY = {"torch", "diffusers", "transformers", "prefect", "zarr", "scipy", "matplotlib", "dask"}


@pytest.mark.parametrize("command", ["run", "label"])
def test_what_is_finished_is_said_without_anything_heavy(tiny_study, command):
    code = (
        "import sys, json; from flows.cli import main\n"
        f"code = main([{command!r}, {TINY!r}, '--root', {str(tiny_study)!r}])\n"
        f"print(json.dumps([code, sorted({HEAVY!r} & set(sys.modules))]))"
    )
    before = sorted((path, path.stat().st_mtime_ns) for path in tiny_study.rglob("*"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    *said, last = done.stdout.splitlines()
    assert json.loads(last) == [0, []], done.stdout + done.stderr
    assert [line.partition(":")[0] for line in said] == (list(COMMANDS) if command == "run" else [command])
    assert all("nothing to do" in line for line in said)
    assert sorted((path, path.stat().st_mtime_ns) for path in tiny_study.rglob("*")) == before


NIGHT = """
import json, sys
from flows.{module} import {flow}
counts = {flow}(*sys.argv[1:])
print(json.dumps([counts, sorted({heavy!r} & set(sys.modules))]))
"""


@pytest.mark.parametrize(("module", "name", "least"), [("whole", "study", 40), ("stages", "label", 10)])
def test_a_flow_that_finds_all_done_says_so_and_runs_no_command(copy, served, module, name, least):
    """As on most nights of a schedule; ``concepts run`` asks before it makes a flow."""
    root = copy.rename(copy.with_name(f"{name}-done-already"))
    before = sorted((root / "tables" / "runs").iterdir())
    code = NIGHT.format(module=module, flow=f"{name}_flow", heavy={"torch", "diffusers", "transformers"})
    variables = {**served, "PREFECT_LOGGING_LEVEL": "INFO"}
    done = subprocess.run([sys.executable, "-c", code, TINY, str(root)], env=variables, capture_output=True, text=True)
    counts, heavy = json.loads(done.stdout.splitlines()[-1])
    by_command = counts if name == "study" else {name: counts}
    units = sum(one["units"] for one in by_command.values())
    assert list(by_command) == (list(COMMANDS) if name == "study" else [name])
    assert units > least and not any(one["made_now"] for one in by_command.values())
    assert heavy == [] and sorted((root / "tables" / "runs").iterdir()) == before
    [run] = [run for run in asked_of(served, "flow_runs") if run["name"].endswith(f"-{root.name}")]
    [page] = asked_of(served, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
    logged = [line["message"] for line in asked_of(served, "logs", logs={"flow_run_id": {"any_": [run["id"]]}})]
    assert (run["name"], run["state"]["type"]) == (f"{name}-{root.name}", "COMPLETED")
    nothing = f"nothing to do: all {units} units are done"
    assert page["data"].startswith(f"# tiny: {nothing}\n") and nothing in logged


def asked_of(served, what, **body):
    return httpx.post(f"{served['PREFECT_API_URL']}/{what}/filter", json=body).raise_for_status().json()


GONE = {
    "a record": "done/layout/mid/0.00/cond/k4.json",
    "a part": "tables/layout_scores/mid-0.00-cond-k4.parquet",
    "weights": "saes/mid/0.00/cond/k4/sae_weights.safetensors",
    "a shard": "activations.zarr/mid/0.00/cond/c/1/0/0/0",
    "a figure": "figures/explained_variance.png",
    "the figures' record": "done/draw/all.json",
}


@pytest.mark.parametrize("what", GONE)
def test_what_is_gone_is_not_finished(copy, what):
    study = open_existing(copy, load_config(TINY))
    assert done_units(study, "run")
    (copy / GONE[what]).unlink()
    assert done_units(study, "run") is None


def test_a_study_killed_before_it_had_a_store_has_everything_to_do(tmp_path):
    study = open_or_create(tmp_path / "begun", load_config(TINY))
    assert done_units(study, "run") is None and done_units(study, "collect") is None


def test_a_figure_that_is_gone_is_drawn_again(copy, served, launch):
    path = copy / GONE["a figure"]
    path.unlink()
    done = launch("run", TINY, "--root", str(copy))
    assert done.returncode == 0 and path.is_file() and "figures: units 1, made now 1" in done.stdout, done.stderr


def test_other_settings_are_not_finished(copy, capsys):
    """The records' hashes decide: what a revision undid is to do, and a store without metadata is an error."""
    assert main(["revise", TINY, "--root", str(copy), "--set", "layout.bootstrap=200"]) == 0
    study = open_existing(copy, load_config(TINY, ["layout.bootstrap=200"]))
    assert done_units(study, "run") is None and done_units(study, "label") is not None
    (copy / "activations.zarr" / "zarr.json").unlink()
    assert main(["label", TINY, "--root", str(copy), "--set", "layout.bootstrap=200"]) == 2
    assert "concepts repair" in capsys.readouterr().err


def test_units_of_former_settings_do_not_stand_for_missing_ones(copy):
    study = open_existing(copy, load_config(TINY))
    shutil.copy(copy / "done/intervene/spatial-tree-early.json", copy / "done/intervene/spatial-cat-early.json")
    forget_record(copy, "intervene", "spatial-tree-early")
    assert done_units(study, "intervene") is None


ASKS = {
    "help": ["--help"],
    "status": ["status", "STUDY"],
    "query": ["query", "STUDY", "select label, count(*) from segments group by label"],
    "verify": ["verify", "STUDY"],
    "run": ["run", TINY, "--root", "STUDY"],
}
ENDS = """
import atexit, sys
atexit.register(lambda: print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr))
from flows.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("asked", ASKS)
def test_who_only_asks_waits_for_nothing_heavy(tiny_study, asked):
    """As the command is started: pandas and NumPy are what Arrow imports by itself, Zarr what opening a store would."""
    arguments = [str(tiny_study) if word == "STUDY" else word for word in ASKS[asked]]
    light = {"pandas", "numpy", "pyarrow", "pyarrow.compute", "pydantic", "duckdb", "study.config"}
    code = ENDS.format(heavy=HEAVY | light - NEEDED.get(asked, set()))
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]"), done.stderr


NEEDED = {
    "status": {"study.config", "pydantic", "pyarrow", "pyarrow.compute"},
    "query": {"duckdb", "pyarrow"},
    "verify": {"study.config", "pydantic", "pyarrow", "pyarrow.compute", "numpy"},
    "run": {"study.config", "pydantic", "pyarrow", "pyarrow.compute", "numpy"},
}
