"""A Prefect flow for every command that ``study.stages`` declares: it makes what is missing."""

from __future__ import annotations

from typing import Any

from prefect import Flow, flow

from flows.common import finished, flow_run_name, opened, run_command, stage
from flows.forms import ConfigPath, Overrides, Root
from study.stage import Command
from study.stages import COMMANDS, OPTIONAL, stages_of


def _flow_of(command: Command) -> Flow[..., dict[str, Any]]:
    def run(config_path: ConfigPath, root: Root, overrides: Overrides = None) -> dict[str, Any]:
        with opened(config_path, root, overrides, command.name) as study:
            if done := finished(study, command.name):
                return done
            with stage(command.name, config_path, root, overrides):
                return run_command(study, command)

    # Deployments name a flow by the module and the name of its function.
    run.__name__ = run.__qualname__ = f"{command.name}_flow"
    run.__doc__ = f"Run {', '.join(stage.name for stage in stages_of(command.name))}: only what is missing."
    return flow(name=command.name, flow_run_name=flow_run_name, log_prints=True)(run)


FLOWS = {name: _flow_of(command) for name, command in COMMANDS.items()}  # of `concepts run`, in order
OPTIONAL_FLOWS = {name: _flow_of(command) for name, command in OPTIONAL.items()}
globals().update({f"{name}_flow": made for name, made in (FLOWS | OPTIONAL_FLOWS).items()})
