"""How much sooner processes that share a study are done than one: collecting and labelling, side by side.

    python -m benchmarks.sharing configs/mini.yaml --rounds 3      # six minutes or more a round
    python -m benchmarks.sharing configs/mini.yaml --processes 2 4 8 --set prompts.shard_size=4      # on eight cores

Each process is ``concepts collect`` or ``concepts label`` with ``--share``, one unit at once and one torch thread, and
has a Prefect server of its own, as when they are typed into two terminals. A round collects a study by one process and
another by two that begin together (or by as many as ``--processes`` says); then the sites of one are trained, which is
not timed, and copies of it are labelled by one and by two. Each time every table but ``runs`` has the same content hash
in all.

The study is the demo's with fewer prompts and sites, large enough that one process is at each command for a minute or
more. Three figures: the whole commands by the clock, from the first's start to the last's end; the command's own time,
which leaves out the start of the server (``started`` to ``ended`` in the table ``runs``, first to last); and seconds of
the processor of all processes together, servers included. Two processes on two cores are twice as fast at best; that
the third stays the same says that nothing was done twice. It wants a core for each process, and nothing else on them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.environment import REPO, as_flags, environment_of
from benchmarks.processor import children_seconds
from storage.inspect import table_hashes
from storage.tables import read_table

STUDY = (  # 192 prompts in 12 shards, and 12 sites
    "prompts.splits={train: 48, dictionary: 96, layout: 32, style: 16}",
    "prompts.shard_size=16",
    "sites.times=[1.0, 0.0]",
    "interventions.windows={early: [0.6, 1.0, 1.0], final: [0.0, 0.2, 0.0]}",  # none at a time without a site
    "sae.vectors=30000",
    "sae.seeds=1",
    "sae.controls=[]",
    "sae.across_time=false",
)
RUN = ("run.max_workers=1", "run.torch_threads=1")
COMMANDS = ("collect", "label")


@dataclass(frozen=True)
class Cost:
    """Seconds of a command: of its processes by the clock, of its own work by the clock, and of the processor."""

    clock: float
    work: float
    processor: float


def ratios(one: Cost, several: Cost) -> dict[str, float]:
    """How many times as fast several processes were, and their processor seconds in the place of one's."""
    return {
        "clock": one.clock / several.clock,
        "work": one.work / several.work,
        "processor": several.processor / one.processor,
    }


def medians(costs: Iterable[Cost]) -> Cost:
    """The median of each figure by itself."""
    rows = list(costs)
    return Cost(*(median(getattr(row, name) for row in rows) for name in ("clock", "work", "processor")))


def span(rows: Iterable[Mapping[str, datetime]]) -> float:
    """Seconds from the first ``started`` to the last ``ended``."""
    rows = list(rows)
    return (max(row["ended"] for row in rows) - min(row["started"] for row in rows)).total_seconds()


def timed(command: str, root: Path, processes: int, options: argparse.Namespace, home: Path) -> Cost:
    """What a command costs that so many processes are at. Raises ``CalledProcessError`` if one of them fails."""
    before, began = children_seconds(), time.perf_counter()
    started = [_started(command, root, options, home) for _ in range(processes)]
    codes = [process.wait() for process in started]
    clock = time.perf_counter() - began
    for process, code in zip(started, codes, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, process.args)
    rows = read_table(root, "runs", ["stage", "started", "ended"], [("stage", "==", command)]).to_pylist()
    assert len(rows) == processes  # each did its part to the end
    cost = Cost(clock, span(rows), children_seconds() - before)
    seconds = ", ".join(f"{name} {value:.1f} s" for name, value in vars(cost).items())
    print(f"{command:<7} by {processes}: {seconds}", flush=True)
    return cost


def _started(command: str, root: Path, options: argparse.Namespace, home: Path) -> subprocess.Popen[bytes]:
    named = {setting.partition("=")[0]: setting for setting in (*STUDY, *RUN, *options.set)}  # the last of a name
    settings = as_flags(named.values())
    arguments = ["-m", "flows.cli", command, str(options.config), "--root", str(root), "--share", *settings]
    environment = environment_of(PREFECT_HOME=str(home))  # a server each
    return subprocess.Popen([sys.executable, *arguments], cwd=REPO, env=environment, stdout=subprocess.DEVNULL)


def compare(options: argparse.Namespace, scratch: Path, home: Path) -> dict[str, dict[int, Cost]]:
    """One round: of each command what each number of processes costs. Raises ``AssertionError`` if tables differ."""
    costs: dict[str, dict[int, Cost]] = {"collect": {}, "label": {}}
    alone = scratch / "1"
    for count in (1, *options.processes):
        root = scratch / str(count)
        costs["collect"][count] = timed("collect", root, count, options, home)
        assert table_hashes(root) == table_hashes(alone)
        if count > 1:
            shutil.rmtree(root)
    timed("train", alone, 1, options, home)
    trained = shutil.copytree(alone, scratch / "trained")
    for count in (1, *options.processes):
        root = alone if count == 1 else shutil.copytree(trained, scratch / str(count))
        costs["label"][count] = timed("label", root, count, options, home)
        assert table_hashes(root) == table_hashes(alone)
        if count > 1:
            shutil.rmtree(root)
    return costs


def main() -> None:
    """Print each round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[2], help="how many at once, each beside one")
    parser.add_argument("--set", action="append", default=[], help="other settings, as of a smaller study")
    options = parser.parse_args()
    if min(options.processes) < 2:
        parser.error("--processes takes numbers of 2 and more: one process is timed beside each of them")
    options.config = options.config.resolve()
    rounds = []
    with tempfile.TemporaryDirectory(prefix="sharing-") as folder:
        home = Path(folder) / "prefect"
        _make_database(home)
        for number in range(options.rounds):
            rounds.append(compare(options, Path(folder) / str(number), home))
            tell(f"round {number + 1}", rounds[-1:])
            shutil.rmtree(Path(folder) / str(number))
    tell(f"median of {len(rounds)}", rounds)


def _make_database(home: Path) -> None:
    """That of the servers, beforehand: the first would make it within its time."""
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
    subprocess.run(command, env=environment_of(PREFECT_HOME=str(home)), check=True, stdout=subprocess.DEVNULL)


def tell(what: str, rounds: list[dict[str, dict[int, Cost]]]) -> None:
    """Print medians over rounds: what one process and each number of them cost, and the ratios of these."""
    for command in COMMANDS:
        one, *several = sorted(rounds[0][command])
        alone = medians(costs[command][one] for costs in rounds)
        for count in several:
            shared = medians(costs[command][count] for costs in rounds)
            for name, ratio in ratios(alone, shared).items():
                figures = f"one {getattr(alone, name):7.1f} s, {count} {getattr(shared, name):7.1f} s"
                print(f"{what}, {command:<7} {name:<9}: {figures}: {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
