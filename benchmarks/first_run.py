"""From `concepts serve` to the end of its first scheduled run: what each part of the way takes.

    concepts run configs/tiny.yaml --root runs/tiny
    python -m benchmarks.first_run configs/tiny.yaml --root runs/tiny

The study is finished, so that the run itself is the least there is: a flow that finds everything done. A schedule of
every minute is waited for; how long is a matter of the clock, and told apart.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.environment import REPO, environment_of

PATIENCE_S = 300.0


def main() -> None:
    """Print the parts of the way, in seconds by the clock, and the processor's seconds of all processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="first-run-") as home:
        command = [sys.executable, "-m", "flows.cli", "serve", str(options.config.resolve())]
        command += ["--root", str(options.root.resolve()), "--cron", "* * * * *", "--port", "0"]
        began = datetime.now(UTC)
        environment = environment_of(PREFECT_HOME=home)
        served = subprocess.Popen(command, cwd=REPO, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            url = _address(served)
            ready = datetime.now(UTC)
            run = _first_finished(url)
            seconds = _processor_seconds(served.pid)
        finally:
            served.send_signal(signal.SIGTERM)
            served.communicate(timeout=60)
    _tell(began, ready, run, seconds)


def _processor_seconds(pid: int) -> float:
    """Of a process and all below it, those that have ended included: `serve` does not wait for its server's end."""
    one = psutil.Process(pid)
    return sum(sum(process.cpu_times()[:4]) for process in (one, *one.children(recursive=True)))


def _address(served: subprocess.Popen[str]) -> str:
    """The API's address, as the command prints it when its deployments are there. Raises ``SystemExit`` if it ends."""
    for line in served.stderr or ():
        if match := re.search(r"Prefect's UI: (http://\S+)", line):
            return f"{match[1]}/api"
    raise SystemExit("`concepts serve` ended before it said where its server is")


def _first_finished(url: str) -> dict[str, Any]:
    """The first run of the schedule that has ended well. Raises ``SystemExit`` when none comes."""
    wanted = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 20}
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        runs = httpx.post(f"{url}/flow_runs/filter", json=wanted, trust_env=False, timeout=30).json()
        if scheduled := [run for run in runs if run["auto_scheduled"]]:
            return dict(scheduled[0])
        time.sleep(0.2)
    raise SystemExit(f"no scheduled run has ended within {PATIENCE_S:.0f} s")


def _tell(began: datetime, ready: datetime, run: dict[str, Any], seconds: float) -> None:
    moments = ("expected_start_time", "start_time", "end_time")
    expected, started, ended = (datetime.fromisoformat(run[moment]) for moment in moments)
    parts = {
        "from the command to its server and deployments": ready - began,
        "until the schedule's next minute": expected - ready,
        "from that to the flow's first state of running": started - expected,
        "the run of a finished study": ended - started,
        "all of it, but for the wait for the minute": (ready - began) + (ended - expected),
    }
    for what, length in parts.items():
        print(f"{what:<48} {length.total_seconds():6.1f} s")
    print(f"{'processor, of all processes':<48} {seconds:6.1f} s")


if __name__ == "__main__":
    main()
