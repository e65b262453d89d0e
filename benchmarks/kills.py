"""SIGKILLs at random moments of a study; every study, resumed to its end, must equal one that was never killed.

    python -m benchmarks.kills [--kills 50] [--runner thread|dask] [--config configs/tiny.yaml] [--seed 0]

Each kill is dealt a stage, a number of its units and a delay: the whole process group dies that long after so many
units of the stage are recorded, whatever it is doing then. Each study is killed once in every stage, in order, and then
run to its end; ``concepts verify`` must find it whole, and every file of results (all but the rows of ``runs``, which
hold times, and the lock) must have the bytes of the undisturbed study. Prints a table, exits with 1 on a difference.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.server import prefect_server
from study.status import expected_units
from study.verify import verify

STAGES = ("plan", "collect", "train", "share", "match", "tag", "segment", "label", "layout", "calibrate", "intervene")
FIGURES = "figures"  # drawn after the last stage
LONGEST_DELAY = 2.0  # seconds; a unit of the tiny study takes less
PATIENCE = 600.0  # seconds until a stage must have begun
APART = ("tables/runs/", "done/runs/", "study.yaml", ".lock")


@dataclass(frozen=True)
class Kill:
    """When to kill: ``delay`` seconds after ``units`` records of ``stage`` are there."""

    stage: str
    units: int
    delay: float


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--runner", choices=("thread", "dask"), default="thread")
    parser.add_argument("--config", default="configs/tiny.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the studies, kept; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as scratch, prefect_server():
        work = options.work or Path(scratch)
        raise SystemExit(1 if trial(work, options) else 0)


def trial(work: Path, options: argparse.Namespace) -> int:
    """Kill and resume as many studies as it takes; the number of differences."""
    command = [sys.executable, "-m", "flows.cli", "run", options.config, "--root"]
    flags = ["--set", f"run.task_runner={options.runner}"]
    whole = work / "whole"
    finish([*command, str(whole), *flags])
    expected, dice = {**expected_units(whole), FIGURES: 0}, random.Random(options.seed)
    stages = [stage for stage in (*STAGES, FIGURES) if expected[stage] or stage == FIGURES]
    done: Counter[str] = Counter()
    wrong = 0
    for number in range(-(-options.kills // len(stages))):
        root = work / f"killed-{number}"
        kills = [deal(stage, expected[stage], dice) for stage in stages[: options.kills - sum(done.values())]]
        for kill in kills:
            done[kill.stage] += run_and_kill([*command, str(root), *flags], root, kill)
        finish([*command, str(root), *flags])
        problems = [*verify(root), *different(whole, root)]
        wrong += len(problems)
        print(f"study {number}: {len(kills)} kills, {len(problems)} differences", flush=True)
        for problem in problems[:10]:
            print(f"  {problem}", flush=True)
    print(f"{sum(done.values())} kills ({', '.join(f'{stage} {n}' for stage, n in done.items())}): {wrong} differences")
    return wrong


def deal(stage: str, units: int, dice: random.Random) -> Kill:
    """A kill somewhere within a stage; before its first record, too."""
    return Kill(stage, dice.randrange(max(units, 1)), dice.uniform(0, LONGEST_DELAY))


def run_and_kill(command: list[str], root: Path, kill: Kill) -> bool:
    """Run until the moment, then kill the whole group. False if the run was over before."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + PATIENCE
        while not reached(root, kill):
            if process.poll() is not None:
                log.seek(0)
                if process.returncode:
                    raise SystemExit(
                        f"the run ended by itself with {process.returncode}:\n{log.read().decode()[-2000:]}"
                    )
                return False
            if time.monotonic() > end:
                raise SystemExit(f"stage {kill.stage} never had {kill.units} units")
            time.sleep(0.005)
        time.sleep(kill.delay)
        alive = process.poll() is None
        if alive:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return alive


def reached(root: Path, kill: Kill) -> bool:
    """Whether so many units of the stage are recorded; for the figures, whether the first is drawn or all is ready."""
    if kill.stage == FIGURES:
        return any((root / "done" / "effects").rglob("*.json"))
    folder = root / "done" / kill.stage
    begun = kill.units or any(folder.parent.iterdir()) if folder.parent.exists() else False
    return bool(begun) and sum(1 for _ in folder.rglob("*.json")) >= kill.units


def finish(command: list[str]) -> None:
    """Run to the end; a failure ends the trial."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the run failed with {done.returncode}:\n{done.stderr[-2000:]}")


def different(whole: Path, other: Path) -> list[str]:
    """Files of results that one study lacks or whose bytes differ, and files left over from a killed run."""
    left, right = (dict(digests(root)) for root in (whole, other))
    lacking = [f"{name} is in one study only" for name in sorted(left.keys() ^ right.keys())]
    return lacking + [f"{name} differs" for name in sorted(left.keys() & right.keys()) if left[name] != right[name]]


def digests(root: Path) -> Iterator[tuple[str, str]]:
    """(path, SHA-256) of every file of results."""
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_file() and not name.startswith(APART):
            yield name, hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
