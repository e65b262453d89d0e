"""What is deployed: the whole study, every command that runs stages, the bench and single edits.

    python -m flows.deployments --write     writes prefect.yaml, for `prefect deploy --all`
    python -m flows.deployments --check     says whether prefect.yaml is what would be written

No deployment limits its runs: two of one study folder wait for each other, whichever deployments they are of, and two
of different folders need not.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from flows.automations import HEARTBEAT_SECONDS, TAG
from flows.environment import CHECKOUT, PATIENT
from study.stages import BENCH, COMMANDS, OPTIONAL

FILE = CHECKOUT / "prefect.yaml"
POOL = "atlas"


@dataclass(frozen=True)
class Deployed:
    """A deployment: its name, the file and function of its flow, and what the UI says about it."""

    name: str
    entrypoint: str
    description: str
    of_study: bool = True  # whether it takes a configuration
    cron: str | None = None


def deployed() -> list[Deployed]:
    """Everything that is deployed, in the order of the UI."""
    of_stages = [
        Deployed(
            command.name, f"flows/stages.py:{command.name}_flow", _sentence(command.help, command.name in OPTIONAL)
        )
        for command in (COMMANDS | OPTIONAL).values()
        if command.help
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


HEAD = """\
# Written by `python -m flows.deployments --write`. `prefect --no-prompt deploy --all` registers these; the work pool
# must exist, which `concepts setup` makes. Runs of one study folder wait for each other.
name: concept-atlas

definitions:
  parameters: &mini
    config_path: configs/mini.yaml
    root: runs/mini
  pool: &pool
    name: {pool}
    job_variables:
      env:
        # Prefect's own default, 180 s, is more than the rule about silent runs waits: living runs would be ended.
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: "{heartbeat}"
        # Doubling waits from two seconds: the server may be away for four minutes. It answers 500 while its Redis is.
{patient}

deployments:
"""


def text() -> str:
    """``prefect.yaml``, by which `prefect deploy` registers what is deployed."""
    patient = "\n".join(f'        {name}: "{value}"' for name, value in PATIENT.items())
    head = HEAD.format(pool=POOL, heartbeat=HEARTBEAT_SECONDS, patient=patient)
    return head + "".join(_block(one) for one in deployed())


def _block(one: Deployed) -> str:
    lines = [
        f"  - name: {one.name}",
        f"    entrypoint: {one.entrypoint}",
        f'    description: "{one.description}"',
        *(["    parameters: *mini"] if one.of_study else ["    parameters:", "      root: runs/mini"]),
        "    enforce_parameter_schema: true",
        "    work_pool: *pool",
        f"    tags: [{TAG}]",
    ]
    if one.cron:
        lines += ["    schedules:", f'      - cron: "{one.cron}"', "        timezone: UTC"]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file, or compare it. Returns the exit code: 1 for one that differs, 2 for another argument."""
    if arguments == ["--write"]:
        FILE.write_text(text(), encoding="utf-8")
        return 0
    if arguments == ["--check"]:
        return _compare(FILE)
    print("give --write or --check", file=sys.stderr)
    return 2


def _compare(file: Path) -> int:
    if file.is_file() and file.read_text(encoding="utf-8") == text():
        return 0
    print(f"{file.name} is not what is deployed: `python -m flows.deployments --write` renews it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
