"""What it costs to be told that nothing is left to do, or that a setting is misspelt: processor seconds of a command.

Beside each, in turns, the way it was done before: the study's flow on a Prefect server of its own, which asks every
stage and draws every figure; and the sentence after the model libraries are imported. Needs a finished study:

    concepts run configs/tiny.yaml --root runs/tiny
    python -m benchmarks.starts configs/tiny.yaml --root runs/tiny
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

from benchmarks.processor import children_seconds

CLI = "import sys; from flows.cli import main; sys.exit(main({arguments!r}))"
FLOW = (
    "from flows.cli import QUIET; import os; os.environ.update(QUIET)\n"
    "from flows.server import prefect_server; from flows.whole import study_flow; from tasks import figures\n"
    "from study.config import load_config; from study.opening import open_existing\n"
    "with prefect_server():\n    study_flow({config!r}, {root!r})\n"
    "figures.draw_all(open_existing({root!r}, load_config({config!r})))"
)


def seconds(code: str, expected: int) -> float:
    """Processor seconds, of user and system, that a Python process and all it starts take to run ``code``."""
    before = children_seconds()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == expected, done.stderr[-1000:]
    return children_seconds() - before


def main() -> None:
    """Print both comparisons, medians of the rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    given = {"config": str(options.config), "root": str(options.root)}
    run = CLI.format(arguments=["run", given["config"], "--root", given["root"]])
    wrong = CLI.format(arguments=["run", given["config"], "--root", given["root"], "--set", "sae.kk=3"])
    cases = {
        "nothing to do": (FLOW.format(**given), run, 0),
        "a misspelt setting": (f"import diffusion.sampling\n{wrong}", wrong, 2),
    }
    for name, (former, now, code) in cases.items():
        times = [(seconds(former, code), seconds(now, code)) for _ in range(options.rounds)]
        before, after = median(t[0] for t in times), median(t[1] for t in times)
        print(f"{name}: {before:.2f} s -> {after:.2f} s, ratio {before / after:.1f}")


if __name__ == "__main__":
    main()
