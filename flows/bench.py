"""The bench: every dictionary of a study against images of known truth. Not a stage of the study: it needs a truth."""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.common import flow_run_name, run_each, stage
from storage.records import read_record, record_path
from study.plans import bench_unit
from study.preconditions import require
from study.study import Study
from tasks.artifacts import bench_artifacts
from tasks.bench import BenchInputs
from tasks.units import bench_task


@flow(name="bench", flow_run_name=flow_run_name, log_prints=True)
def bench_flow(
    config_path: str,
    root: str,
    overrides: list[str] | None = None,
    truth: str = "runs/truth.parquet",
    given: dict[str, tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """Fill the table ``bench``, a time at a time; what was scored with the same truth and dictionaries stays."""
    with stage("bench", config_path, root, overrides) as study:
        require(study, "collect", "train", "share")
        inputs = BenchInputs(truth, {name: (where, folder) for name, (where, folder) in (given or {}).items()})
        conditioning = study.config.sites.conditionings[0]
        times = {bench_unit(t, conditioning): t for t in study.config.sites.times}
        _forget_other_inputs(study, list(times), inputs)
        units = {name: {"t": t, "conditioning": conditioning, "inputs": inputs} for name, t in times.items()}
        done = run_each(study, "bench", bench_task, units)
        bench_artifacts(study)
    return {"times": len(times), "scored_now": len(done)}


def _forget_other_inputs(study: Study, units: list[str], inputs: BenchInputs) -> None:
    """A unit that was scored with another truth or other dictionaries is not done."""
    facts = inputs.facts()
    for unit in units:
        record = read_record(study.root, "bench", unit)
        if record is not None and record.get("inputs") != facts:
            record_path(study.root, "bench", unit).unlink()
