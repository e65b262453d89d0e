"""What a command takes that does no work: `--help`, `status`, `query` and `verify` of a study, as whole processes.

    python -m benchmarks.asking runs/mini
    python -m benchmarks.asking runs/mini --against ../former    # in turns with another checkout of this project

Medians of the rounds, by the clock and of the processor with all threads. Of a busy machine the second is the guide,
and the clock's smallest value.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.environment import REPO, environment_of
from benchmarks.processor import children_seconds

SQL = "select label, count(*) n from segments group by label order by n desc"
COMMANDS = ("help", "status", "query", "verify")


def arguments_of(command: str, root: Path) -> list[str]:
    """The command line of one of ``COMMANDS``."""
    return ["--help"] if command == "help" else [command, str(root), *([SQL] if command == "query" else [])]


def seconds(checkout: Path, arguments: list[str]) -> tuple[float, float]:
    """By the clock, and of the processor. Raises ``CalledProcessError`` if the command fails."""
    environment = environment_of(checkout)
    before, began = children_seconds(), time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", *arguments]
    subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began, children_seconds() - before


def main() -> None:
    """Print a line a command and checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout, timed in turns")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkouts = [REPO, *([options.against.resolve()] if options.against else [])]
    for command in options.commands:
        arguments = arguments_of(command, options.root.resolve())
        rounds = [[seconds(checkout, arguments) for checkout in checkouts] for _ in range(options.rounds)]
        for name, taken in zip(("here", "the other"), zip(*rounds, strict=True), strict=False):
            clock, processor = ([one[kind] for one in taken] for kind in (0, 1))
            print(
                f"{command:<8} {name:<10} {median(clock):5.2f} s (at least {min(clock):.2f}), "
                f"{median(processor):5.2f} s of the processor",
                flush=True,
            )


if __name__ == "__main__":
    main()
