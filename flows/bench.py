"""The bench: every dictionary of a study against images of known truth. Not a stage of the study: it needs a truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import flow

from flows.common import flow_run_name, run_command, stage
from flows.forms import ConfigPath, Dictionaries, Overrides, Root, Truth
from storage.records import forget_record, read_record
from study.preconditions import units_of
from study.stages import BENCH
from study.study import Study

if TYPE_CHECKING:
    from tasks.bench import BenchInputs


@flow(name="bench", flow_run_name=flow_run_name, log_prints=True)
def bench_flow(
    config_path: ConfigPath,
    root: Root,
    overrides: Overrides = None,
    truth: Truth = "runs/truth.parquet",
    given: Dictionaries = None,
) -> dict[str, Any]:
    """Fill the table ``bench``, a time at a time; what was scored with the same truth and dictionaries stays."""
    from tasks.bench import BenchInputs  # here: who only serves this flow waits for no model library

    with stage("bench", config_path, root, overrides) as study:
        inputs = BenchInputs(truth, {name: (where, folder) for name, (where, folder) in (given or {}).items()})
        _forget_other_inputs(study, inputs)
        return run_command(study, BENCH, inputs=inputs)


def _forget_other_inputs(study: Study, inputs: BenchInputs) -> None:
    """A unit that was scored with another truth or other dictionaries is not done."""
    facts = inputs.facts()
    for unit in units_of(study, BENCH.name):
        record = read_record(study.root, BENCH.name, unit)
        if record is not None and record.get("inputs") != facts:
            forget_record(study.root, BENCH.name, unit)
