"""The order of the tests themselves: which of pytest's processes begins with what."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import SECONDS, parts, seconds


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
    assert [len(part) for part in dealt[:-1]] == [len(ITEMS) // processes] * (processes - 1)
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
