"""What orchestration costs: the ratios that are told, and seconds of the processor."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from benchmarks import overhead
from benchmarks.overhead import OWN, PLAINLY, STANDING, Cost
from benchmarks.processor import running_seconds

ROUNDS = [
    (Cost(10, 20), Cost(15, 30), Cost(11, 24)),
    (Cost(8, 18), Cost(99, 99), Cost(12, 25)),
    (Cost(12, 90), Cost(14, 21), Cost(10, 22)),
]


def told(capsys, ways):
    overhead._tell("median of 3", [dict(zip(ways, costs, strict=False)) for costs in ROUNDS])
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_overhead_is_the_ratio_less_one_of_the_medians(capsys):
    clock, processor = told(capsys, (PLAINLY, OWN, STANDING))
    own, stands = "run with a server of its own", "with one that stands"
    assert clock == f"median of 3, clock : 10.00 s plainly; {own} 15.00 s (+50.0%), {stands} 11.00 s (+10.0%)"
    assert processor == f"median of 3, processor: 20.00 s plainly; {own} 30.00 s (+50.0%), {stands} 24.00 s (+20.0%)"


def test_what_was_left_out_is_not_told(capsys):
    clock, processor = told(capsys, (PLAINLY, OWN))
    assert clock == "median of 3, clock : 10.00 s plainly; run with a server of its own 15.00 s (+50.0%)"
    assert processor == "median of 3, processor: 20.00 s plainly; run with a server of its own 30.00 s (+50.0%)"


@pytest.mark.parametrize("alone", [True, False])
def test_every_way_fills_a_folder_of_its_own_with_the_same_settings(tmp_path, monkeypatch, alone):
    made = {}

    def cost_of(arguments, url=None):
        root = Path(arguments[-1])
        made[root.name] = (arguments, url)
        root.mkdir()
        return Cost(len(made), 0)

    monkeypatch.setattr(overhead, "cost_of", cost_of)
    monkeypatch.setattr(overhead, "cost_beside_a_server", lambda arguments: cost_of(arguments, "http://there"))
    monkeypatch.setattr("storage.inspect.table_hashes", lambda root: {"tags": root.parent.name})
    costs = overhead.compare(Path("c.yaml"), tmp_path, ["sae.k=4"], alone)
    ways = [PLAINLY, OWN] if alone else [PLAINLY, OWN, STANDING]
    assert list(costs) == list(made) == ways and [cost.clock for cost in costs.values()] == list(
        range(1, len(ways) + 1)
    )
    for way, (arguments, url) in made.items():
        assert "c.yaml" in arguments and arguments[arguments.index("--set") + 1] == "sae.k=4"
        assert ("--plainly-into" in arguments) == (way == PLAINLY) and ("run" in arguments) == (way != PLAINLY)
        assert url == ("http://there" if way == STANDING else None)
    for path in tmp_path.iterdir():
        path.rmdir()
    monkeypatch.setattr("storage.inspect.table_hashes", lambda root: {"tags": root.name})
    with pytest.raises(AssertionError):
        overhead.compare(Path("c.yaml"), tmp_path, ["sae.k=4"], alone)


def test_of_a_process_that_runs_its_work_is_counted_and_its_waiting_is_not():
    code = "import time; sum(range(10**7)); print(time.process_time(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        told = float(process.stdout.readline())
        time.sleep(0.5)
        assert abs(running_seconds(psutil.Process(process.pid)) - told) < 0.1
        process.communicate("\n")
