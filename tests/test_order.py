"""The order of the tests themselves: which of pytest's processes begins with what."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import SECONDS, parts, seconds
from tests.paths import ROOT


@dataclass(frozen=True)
class Item:
    path: Path
    number: int
    marks: tuple[str, ...] = field(default=())
    said: tuple[int, ...] = ()  # what the marker ``slow`` is given

    def iter_markers(self):
        marks = [SimpleNamespace(name=name, args=()) for name in ("parametrize", *self.marks)]
        return [*marks, SimpleNamespace(name="slow", args=self.said)] if self.said else marks


def module(name, count, *marks):
    return [Item(Path(name), number, marks) for number in range(count)]


ITEMS = [
    *(module("a", 30) + module("b", 3, "system") + module("c", 20)),
    *(module("d", 2, "slow") + module("e", 9, "system", "slow") + module("f", 7)),
]


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_begins_with_its_share_of_the_long_tests(processes):
    dealt = parts(ITEMS, processes)
    assert sorted((item for part in dealt for item in part), key=ITEMS.index) == ITEMS
    assert sum(map(len, dealt)) == len(ITEMS) == 71
    assert list(map(len, dealt)) == {1: [71], 2: [35, 36], 3: [23, 24, 24]}[processes]
    for part in dealt:
        took = [seconds(item) for item in part]
        first_quick = took.index(0.0)
        assert not any(took[first_quick:])  # nothing long is left for the end
    begins = [part[0].path.name for part in dealt]
    assert begins == ["e", "d", "b"][:processes]


def test_a_test_takes_what_its_slowest_marker_says():
    assert seconds(Item(Path("a"), 0)) == 0.0
    assert seconds(Item(Path("a"), 0, ("system",))) == SECONDS["system"]
    assert seconds(Item(Path("a"), 0, ("system", "slow"))) == SECONDS["slow"] > SECONDS["system"]
    assert seconds(Item(Path("a"), 0, ("system",), said=(150,))) == 150.0


def test_a_module_of_one_very_long_test_comes_before_one_of_many_long_ones():
    very = [Item(Path("very"), 0, ("system",), said=(150,))]
    dealt = parts([*module("many", 4, "slow"), *very, *module("quick", 9)], 2)
    assert [part[0].path.name for part in dealt] == ["very", "many"]


def test_one_process_begins_with_what_shares_a_study_and_the_others_come_to_it_later():
    mixed = [*module("s", 6, "system", "slow"), *module("t", 4, "system", "slow"), *module("u", 3, "slow")]
    dealt = parts([*mixed, *module("v", 1, "slow"), *module("quick", 8)], 2)
    begun = [[item.path.name for item in part if item.path.name != "quick"] for part in dealt]
    assert begun == [["s"] * 6 + ["v"], ["u"] * 3 + ["t"] * 4]


HOOKS = """
import os, time
import pytest
from tests.conftest import pytest_collection_modifyitems

@pytest.fixture(autouse=True)
def told(request):
    with open("told", "a") as file:
        file.write(f"{os.environ['PYTEST_XDIST_WORKER']} {request.node.nodeid}\\n")
    time.sleep(0.1)
"""
MARKED = """
import pytest

@pytest.mark.{mark}
@pytest.mark.parametrize("n", range({count}))
def test_it(n):
    pass
"""


def test_with_tests_left_out_each_process_still_begins_with_long_ones(tmp_path):
    """Of two modules whose tests are left out in part, xdist's processes take the long ones as they were dealt."""
    (tmp_path / "conftest.py").write_text(HOOKS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n slow\n faults\n quick\n")
    for name, mark, count in [
        ("a", "slow", 3),
        ("b", "faults", 30),
        ("c", "slow", 4),
        ("d", "quick", 16),
        ("e", "slow", 3),
    ]:
        (tmp_path / f"test_{name}.py").write_text(MARKED.format(mark=mark, count=count))
    asked = ["-n", "3", "--dist", "worksteal", "-m", "not faults", "-p", "no:cacheprovider", "-q"]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    subprocess.run(
        [sys.executable, "-m", "pytest", *asked],
        cwd=tmp_path,
        env=variables | {"PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    run = defaultdict(list)
    for line in (tmp_path / "told").read_text().splitlines():
        process, test = line.split()
        run[process].append(test.partition("::")[0])
    begun = sorted([test for test in tests if test != "test_d.py"] for tests in run.values())
    assert begun == [["test_a.py"] * 3, ["test_c.py"] * 4, ["test_e.py"] * 3]
    for tests in run.values():
        assert sorted(tests, key=lambda test: test == "test_d.py") == tests  # what is quick comes last
