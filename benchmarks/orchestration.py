"""What Prefect and our use of it take of a run, by itself: the units of a finished study, which do nothing.

    concepts run configs/tiny.yaml --root runs/tiny
    python -m benchmarks.orchestration configs/tiny.yaml --root runs/tiny
    python -m benchmarks.orchestration configs/tiny.yaml --root runs/tiny --against ../former    # in turns

`concepts run` with a server of its own, in which the functions of stages are not called: what is left is imports, the
server, a flow run a command, a task run a unit, progress, pages and the log. Seconds of the processor, which noise
troubles less than a whole run's (`benchmarks.overhead`). Nothing of the study is changed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import psutil

CHILD = "BENCHMARK_CHILD"
PARTS = ("imports", "server's start", "the process", "the server")


def work_in_vain() -> None:
    """Run the command line's arguments with units that do nothing. Writes the parts' seconds to stdout, as JSON."""
    from benchmarks.processor import running_seconds
    from flows import cli
    from flows import server as servers

    def seconds(server: Any) -> float:
        return running_seconds(psutil.Process(server._process.pid))

    taken: dict[str, float] = {}

    class Server(servers._Server):
        def wait_until_healthy(self, url: str) -> None:
            taken["imports"] = time.process_time()
            _take_the_work_out()
            import torch  # noqa: F401  the units' own, though they are not called: a limit of threads is set in it

            super().wait_until_healthy(url)
            taken["server's start"], taken["the process"] = seconds(self), time.process_time()

        def stop(self) -> None:
            taken["the process"] = time.process_time() - taken["the process"]
            taken["the server"] = seconds(self) - taken["server's start"]
            super().stop()

    servers._Server = Server  # type: ignore[misc]
    vars(cli)["_said_that_all_is_done"] = lambda *_: False
    import study.imports

    vars(study.imports)["import_work"] = lambda _stages: None  # the model libraries are the units' own
    standard, sys.stdout = sys.stdout, sys.stderr
    if cli.main(sys.argv[1:]):
        raise SystemExit("the run failed")
    print(json.dumps(taken), file=standard)


def _take_the_work_out() -> None:
    """Have every unit seem undone, and be nothing but begun, logged and ended."""
    from flows import common, whole
    from tasks import units

    def nothing(study: Any, work: Any) -> dict[str, int]:
        with units.under_way(work.name):
            units.log_unit(study, work, 1.0, {"rows": 1})
        return {"rows": 1}

    vars(units)["_make_units"] = nothing
    vars(whole)["done_units"] = lambda *_: None
    ours: dict[str, Any] = {"undone": lambda _study, _stage, names: list(names), "require_before": lambda *_: None}
    vars(common).update(ours, named=lambda _reference: lambda _study: {}, _add_run=lambda *_: None)


def parts(checkout: Path, arguments: list[str]) -> list[float]:
    """Seconds of each of ``PARTS``, by the code of a checkout. Raises ``CalledProcessError`` if it fails."""
    from benchmarks.environment import environment_of

    command = [sys.executable, "-P", str(Path(__file__).resolve()), "run", *arguments]
    environment = environment_of(checkout, **{CHILD: "1"})
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, check=True)
    taken = json.loads(done.stdout)
    return [taken[part] for part in PARTS]


def main() -> None:
    """Print medians of the rounds, a line a checkout."""
    from benchmarks.environment import REPO

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--against", type=Path, help="another checkout, timed in turns")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    arguments = [str(options.config.resolve()), "--root", str(options.root.resolve())]
    checkouts = [REPO, *([options.against.resolve()] if options.against else [])]
    rounds = [[parts(checkout, arguments) for checkout in checkouts] for _ in range(options.rounds)]
    for name, taken in zip(("here", "the other"), zip(*rounds, strict=True), strict=False):
        each = [median(column) for column in zip(*taken, strict=True)]
        told = ", ".join(f"{part} {seconds:.2f}" for part, seconds in zip(PARTS, each, strict=True))
        print(f"{name:<10} {told}; in all {median(map(sum, taken)):.2f} s of the processor")


if __name__ == "__main__":
    work_in_vain() if os.environ.get(CHILD) else main()
