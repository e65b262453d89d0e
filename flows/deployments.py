"""What is deployed: the whole study, every command that runs stages, the bench and single edits.

    python -m flows.deployments --write     writes prefect.yaml and prefect-gpu.yaml, for `prefect deploy --all`
    python -m flows.deployments --check     says whether they are what would be written

``prefect.yaml`` has every run in one work pool. ``prefect-gpu.yaml`` has two: what needs a device goes to the pool of
workers that have a GPU, the rest to the other. Which is which follows from the list of stages.

No deployment limits its runs: two of one study folder wait for each other, whichever deployments they are of, and two
of different folders need not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from flows.automations import HEARTBEAT_SECONDS, TAG
from flows.environment import CHECKOUT, PATIENT
from study.stages import BENCH, COMMANDS, OPTIONAL, needs_device

ONE_POOL, TWO_POOLS = "prefect.yaml", "prefect-gpu.yaml"
POOL, GPU_POOL = "atlas", "atlas-gpu"


@dataclass(frozen=True)
class Deployed:
    """A deployment: its name, the file and function of its flow, and what the UI says about it."""

    name: str
    entrypoint: str
    description: str
    of_study: bool = True  # whether it takes a configuration
    cron: str | None = None
    on_gpu: bool = True  # whether a run of it needs a device


def deployed() -> list[Deployed]:
    """Everything that is deployed, in the order of the UI."""
    of_stages = [
        Deployed(
            command.name,
            f"flows/stages.py:{command.name}_flow",
            _sentence(command.help, command.name in OPTIONAL),
            on_gpu=needs_device(command.name),
        )
        for command in (COMMANDS | OPTIONAL).values()
    ]
    return [
        Deployed(
            "study",
            "flows/whole.py:study_flow",
            "The whole study, every night; what is there is resumed, so a finished study costs seconds.",
            cron="0 3 * * *",
        ),
        *of_stages,
        Deployed("bench", "flows/bench.py:bench_flow", f"{_sentence(BENCH.help, True)} Needs a file of them (truth)."),
        Deployed(
            "edit",
            "flows/edit.py:edit_flow",
            "One edit of a finished study by its concepts; writes pictures and a row beside the study.",
            of_study=False,
        ),
    ]


def _sentence(help_text: str, apart: bool) -> str:
    said = help_text[0].upper() + help_text[1:]
    return f"{said}; no part of the whole study." if apart else f"{said}: only what is missing."


INTRODUCTIONS = {
    ONE_POOL: """\
# Written by `python -m flows.deployments --write`. `prefect --no-prompt deploy --all` registers these; the work pool
# must exist, which `concepts setup` makes. Runs of one study folder wait for each other.
""",
    TWO_POOLS: """\
# Written by `python -m flows.deployments --write`. `prefect --no-prompt deploy --all --prefect-file prefect-gpu.yaml`
# registers these in the place of those of prefect.yaml. What needs a device goes to a pool of its own, for workers with
# a GPU; `concepts setup --gpu` makes both pools. Runs of one study folder wait for each other.
""",
}
HEAD = """\
name: concept-atlas

definitions:
  parameters: &mini
    config_path: configs/mini.yaml
    root: runs/mini
  pool: &pool
    name: {pool}
    job_variables:{anchor}
      env:
        # Prefect's own default, 180 s, is more than the rule about silent runs waits: living runs would be ended.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: "{heartbeat}"
        # Doubling waits from two seconds: the server may be away for four minutes. It answers 500 while its Redis is.
{patient}
{gpu_pool}
deployments:
"""
GPU_POOL_TOO = f"""\
  gpu-pool: &gpu-pool
    name: {GPU_POOL}
    job_variables: *variables
"""


def text(file: str) -> str:
    """``prefect.yaml`` or ``prefect-gpu.yaml``, by which `prefect deploy` registers what is deployed."""
    two = file == TWO_POOLS
    patient = "\n".join(f'        {name}: "{value}"' for name, value in PATIENT.items())
    pools = {"pool": POOL, "anchor": " &variables" if two else "", "gpu_pool": GPU_POOL_TOO if two else ""}
    head = HEAD.format(heartbeat=HEARTBEAT_SECONDS, patient=patient, **pools)
    return INTRODUCTIONS[file] + head + "".join(_block(one, two and one.on_gpu) for one in deployed())


def _block(one: Deployed, to_gpu: bool) -> str:
    lines = [
        f"  - name: {one.name}",
        f"    entrypoint: {one.entrypoint}",
        f'    description: "{one.description}"',
        *(["    parameters: *mini"] if one.of_study else ["    parameters:", "      root: runs/mini"]),
        "    enforce_parameter_schema: true",
        f"    work_pool: *{'gpu-pool' if to_gpu else 'pool'}",
        f"    tags: [{TAG}]",
    ]
    if one.cron:
        lines += ["    schedules:", f'      - cron: "{one.cron}"', "        timezone: UTC"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the files, or compare them. Returns the exit code: 1 for one that differs, 2 for another argument."""
    if arguments == ["--write"]:
        for name in INTRODUCTIONS:
            (CHECKOUT / name).write_text(text(name), encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        return max(_compare(CHECKOUT / name) for name in INTRODUCTIONS)
    print("give --write or --check", file=sys.stderr)
    return 2


def _compare(file: Path) -> int:
    if file.is_file() and file.read_text(encoding="utf-8") == text(file.name):
        return 0
    print(f"{file.name} is not what is deployed: `python -m flows.deployments --write` renews it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
