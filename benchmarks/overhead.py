"""What orchestration costs: ``concepts run`` against the same units of work as plain function calls, without Prefect.

    python -m benchmarks.overhead configs/tiny.yaml --rounds 3          # a minute or two a round
    python -m benchmarks.overhead configs/mini.yaml --rounds 1          # an hour and a half; see --set and --alone

All are whole processes that fill a folder of their own, in turns, with as many threads as ``run.max_workers`` says; at
the end every table but ``runs`` has the same content hash. The plain one makes no flow run, no server, no artifacts, no
page and no log. The command is run twice: with the server that it starts and ends, and with one that stands already, as
where a laboratory has one; of that server only what it did meanwhile is counted (``--alone`` leaves this out). Seconds
by the clock, and of the processor with all that a process starts, the server included: on a busy machine the second is
the better guide. Overhead is the ratio less one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.environment import REPO, as_flags, environment_of
from benchmarks.processor import children_seconds, running_seconds

PLAINLY, OWN, STANDING = "plainly", "with a server of its own", "with one that stands"  # a round has these, in turn


def run_plainly(config_path: Path, root: Path, settings: list[str]) -> None:
    """Make every unit of a study, a stage after the other, by calling its function."""
    from study.config import load_config
    from study.imports import import_work
    from study.models import release_models
    from study.opening import open_or_create
    from study.stages import COMMANDS, stages_of
    from study.threads import limited
    from study.undone import undone
    from tasks.units import Work, named, works_of

    study = open_or_create(root, load_config(config_path, settings))
    import_work(stages_of("run"))

    @limited
    def make(study: object, work: Work) -> None:
        named(work.stage.work)(study, **work.given)

    with ThreadPoolExecutor(study.config.run.at_once) as pool:
        for command in COMMANDS:
            for stage in stages_of(command):
                works = [work for work in works_of(study, stage) if undone(study, stage, work.units)]
                list(pool.map(lambda work: make(study, work), works))
            release_models()


@dataclass(frozen=True)
class Cost:
    """Seconds of a process by the clock, and of the processor with all that it started."""

    clock: float
    processor: float


def cost_of(arguments: list[str], url: str | None = None) -> Cost:
    """What a Python process takes, whose Prefect server is at ``url``. Raises ``CalledProcessError`` if it fails."""
    before, began = children_seconds(), time.perf_counter()
    environment = environment_of(url=url)  # a server of the command's own is part of its cost
    subprocess.run([sys.executable, *arguments], cwd=REPO, env=environment, check=True, stdout=subprocess.DEVNULL)
    return Cost(time.perf_counter() - began, children_seconds() - before)


def cost_beside_a_server(arguments: list[str]) -> Cost:
    """What a Python process takes with a server that stands already, and what that does for it meanwhile."""
    from flows.server import own_server

    with own_server() as url:
        (server,) = psutil.Process().children()
        before = running_seconds(server)
        cost = cost_of(arguments, url)
        return Cost(cost.clock, cost.processor + running_seconds(server) - before)


def compare(config: Path, scratch: Path, settings: list[str], alone: bool = False) -> dict[str, Cost]:
    """One round: plain calls, then the command, in both ways or with a server of its own ``alone``.

    ``settings`` are as `concepts run --set` has them. Raises ``AssertionError`` if the tables differ.
    """
    from storage.inspect import table_hashes

    given = as_flags(settings)
    plainly = ["-m", "benchmarks.overhead", str(config), *given, "--plainly-into", str(scratch / PLAINLY)]
    run = ["-m", "flows.cli", "run", str(config), *given, "--root"]
    costs = {PLAINLY: cost_of(plainly), OWN: cost_of([*run, str(scratch / OWN)])}
    if not alone:
        costs[STANDING] = cost_beside_a_server([*run, str(scratch / STANDING)])
    first, *others = [table_hashes(scratch / way) for way in costs]
    assert all(other == first for other in others)
    return costs


def main() -> None:
    """Print each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], help="other settings, as of a smaller study")
    parser.add_argument("--alone", action="store_true", help="no run with a server that stands already")
    parser.add_argument("--plainly-into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plainly_into:
        run_plainly(options.config, options.plainly_into, options.set)
        return
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="overhead-") as scratch:
            rounds.append(compare(options.config.resolve(), Path(scratch), options.set, options.alone))
        _tell("round", [rounds[-1]])
    _tell(f"median of {len(rounds)}", rounds)


def _tell(what: str, rounds: list[dict[str, Cost]]) -> None:
    for kind in ("clock", "processor"):
        took = {way: median(getattr(costs[way], kind) for costs in rounds) for way in rounds[0]}
        plain = took.pop(PLAINLY)
        runs = ", ".join(f"{way} {seconds:7.2f} s ({seconds / plain - 1:+.1%})" for way, seconds in took.items())
        print(f"{what}, {kind:<9}: {plain:7.2f} s plainly; run {runs}", flush=True)


if __name__ == "__main__":
    main()
