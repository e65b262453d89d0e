"""What orchestration costs: the ratios that are told, and seconds of the processor."""

import subprocess
import sys
import time

import psutil

from benchmarks import overhead
from benchmarks.overhead import Cost
from benchmarks.processor import running_seconds


def test_overhead_is_the_ratio_less_one_of_the_medians(capsys):
    rounds = [
        (Cost(10, 20), Cost(15, 30), Cost(11, 24)),
        (Cost(8, 18), Cost(99, 99), Cost(12, 25)),
        (Cost(12, 90), Cost(14, 21), Cost(10, 22)),
    ]
    overhead._tell("median of 3", rounds)
    clock, processor = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    own, stands = "run with a server of its own", "with one that stands"
    assert clock == f"median of 3, clock : 10.00 s plainly; {own} 15.00 s (+50.0%), {stands} 11.00 s (+10.0%)"
    assert processor == f"median of 3, processor: 20.00 s plainly; {own} 30.00 s (+50.0%), {stands} 24.00 s (+20.0%)"


def test_of_a_process_that_runs_its_work_is_counted_and_its_waiting_is_not():
    code = "import time; sum(range(10**7)); print(time.process_time(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        told = float(process.stdout.readline())
        time.sleep(0.5)
        assert abs(running_seconds(psutil.Process(process.pid)) - told) < 0.1
        process.communicate("\n")
