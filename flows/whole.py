"""The whole study: every command in order. Resumes what is there; where all is done, that is said and no command runs.

Not ``study.py``: Prefect loads the file that a deployment names under its bare name, which would stand for the room.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from flows.common import cancelled_if_ended, flow_run_name, opened, shown
from flows.forms import ConfigPath, Overrides, Root
from flows.stages import FLOWS
from study.undone import done_units


@flow(name="study", flow_run_name=flow_run_name, log_prints=True)
def study_flow(config_path: ConfigPath, root: Root, overrides: Overrides = None) -> dict[str, Any]:
    """Run collect, train, label, layout and intervene, then draw ``figures/``. Returns each one's counts."""
    with opened(config_path, root, overrides) as study, cancelled_if_ended(), shown(study, "run"):
        if done := done_units(study, "run"):  # as on most nights of a schedule: no model library is imported for it
            return {name: {"units": units, "made_now": 0} for name, units in done.items()}
        return {name: run(config_path, root, overrides) for name, run in FLOWS.items()}
