"""How long after `concepts explore` its first page is there, of a study that is there.

    python -m benchmarks.first_page runs/mini
    python -m benchmarks.first_page runs/mini --against ../former    # in turns with another checkout of this project

Each round starts the command and asks for the first page as soon as the address is printed, as --open's browser does.
Medians, in seconds from the start of the command: until the address is printed, until the first page is there, and
until the command has ended after an interruption. A first round, which warms the disk, is not counted.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from statistics import median

from benchmarks.environment import REPO, environment_of

ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/")


def seconds(checkout: Path, root: Path) -> tuple[float, float, float]:
    """From the start of the command to its address, to the first page and to its end.

    Raises ``RuntimeError`` if it prints no address.
    """
    began = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "explore", str(root), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=checkout, env=environment_of(checkout), text=True, **pipes) as server:
        line = server.stdout.readline() if server.stdout else ""
        told = time.perf_counter() - began
        try:
            address = ADDRESS.search(line)
            if address is None:
                raise RuntimeError(f"concepts explore {root} gave no address")
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address[0], timeout=60) as answer:
                answer.read()
            shown = time.perf_counter() - began
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    return told, shown, time.perf_counter() - began


def main() -> None:
    """Print a line for each checkout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--against", type=Path, help="another checkout, timed in turns")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkouts = [REPO, *([options.against.resolve()] if options.against else [])]
    rounds = [[seconds(checkout, options.root.resolve()) for checkout in checkouts] for _ in range(options.rounds + 1)]
    for name, taken in zip(("here", "the other"), zip(*rounds[1:], strict=True), strict=False):
        told, shown, ended = ([one[kind] for one in taken] for kind in range(3))
        print(
            f"{name:<10} address {median(told):5.2f} s, first page {median(shown):5.2f} s (at least {min(shown):.2f}), "
            f"ended {median(ended):5.2f} s"
        )


if __name__ == "__main__":
    main()
