"""What `concepts train` takes under a configuration's settings, over what it took under the demo's former ones.

    python -m benchmarks.train_time [configs/mini.yaml] [--work runs/train_time]

Collects a study once, copies it, and trains both copies in turns of a round: now and former, then former and now, each
from nothing. Prints seconds by the clock, seconds of the processors, and their ratios. The former settings train two
seeds and a frozen decoder at each site and one SAE of all times; today's train two controls more and a second SAE of
all times. Wants a quiet machine and leaves its studies under ``--work``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.environment import as_flags
from benchmarks.leaving_the_start import FORMER
from benchmarks.processor import children_seconds

STUDIES = ("now", "former")


def main() -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", default="configs/mini.yaml")
    parser.add_argument("--work", type=Path, default=Path("runs/train_time"))
    parser.add_argument("--rounds", type=int, default=1, help="of two turns each")
    options = parser.parse_args()
    collected = options.work / "collected"
    concepts("collect", options.config, collected)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in STUDIES}
    for turn in range(2 * options.rounds):
        for name in STUDIES[:: -1 if turn % 2 else 1]:
            root = options.work / f"{name}-{turn}"
            shutil.copytree(collected, root)
            settings = former_settings() if name == "former" else []
            if settings:
                concepts("revise", options.config, root, settings)
            taken[name].append(concepts("train", options.config, root, settings))
            print(
                f"{name}: {taken[name][-1][0]:.0f} s by the clock, {taken[name][-1][1]:.0f} s of processors", flush=True
            )
    for place, what in enumerate(("by the clock", "of processors")):
        now, former = (sum(times[place] for times in taken[name]) for name in STUDIES)
        print(f"now / former, {what}: {now / former:.2f}")


def former_settings() -> list[str]:
    """``--set`` arguments: the settings before benchmarks/leaving_the_start.py, and the controls there were then."""
    return ["sae.controls=[]", *(f"sae.{name}={json.dumps(value)}" for name, value in FORMER.items())]


def concepts(command: str, config: str, root: Path, settings: list[str] | tuple[str, ...] = ()) -> tuple[float, float]:
    """Seconds by the clock and of the processors that a command takes to its end."""
    arguments = [command, config, "--root", str(root), *as_flags(settings)]
    before, started = children_seconds(), time.perf_counter()
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], check=True, capture_output=True)
    return time.perf_counter() - started, children_seconds() - before


if __name__ == "__main__":
    main()
