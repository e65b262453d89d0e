"""Settings that have to stand before Prefect, transformers or torch are imported, and the order of the tests.

A test gets a study as cheaply as it can do with:

- ``tests/parts.py`` fills a folder by hand with the rows that the test is about: milliseconds.
- ``tiny_study`` (of the system tests) is ``configs/tiny.yaml`` run to its end, once for all of pytest's processes, who
  find it by a lock. It is read and never written: tests of other modules read the same files at the same time.
- ``copy`` is a copy of that, 13 MB, which a test may change, spoil or go on with.
- ``small_study`` and its copy ``small`` have half of everything, for tests that make much of a study again.
- ``launch("revise", ...)`` runs a command to its end in a process that is forked from one which has imported torch and
  Prefect already: a refusal costs a fifth of a second, not two to seven. ``forked.run(forks, ("-c", code), 400,
  "python")`` does so with a script. ``flows.cli.main([...])`` in the test's own process is as cheap, where nothing is
  left behind in it.
- A whole study of other settings takes twenty seconds of a processor: change settings of ``copy`` with ``revise``
  where what is asked is not whether that equals a fresh study.
"""

import gc
import os
import sys
from itertools import groupby

import pytest
from hypothesis import settings

from tests import lifeline

gc.disable()  # until all tests are collected: nothing of what is imported is garbage, and to look takes five seconds

for name in [name for name in os.environ if name.startswith("PREFECT_")]:
    del os.environ[name]  # a shell's own: with its password the tests' server would turn the tests away
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    # One thread: two that spin for each other on a shared core make small steps take minutes.
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(name, value)
# Some hundred processes are started: let the first compile our modules for all of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# How long an example takes is the machine's affair; one that hangs is ended by the test's timeout.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
SECONDS = {"slow": 20.0, "system": 2.0}  # about what a test of a marker takes, unless the marker says more itself


def pytest_configure(config: pytest.Config) -> None:
    """The process that starts the others holds what they use together, to the end of the session."""
    if not hasattr(config, "workerinput"):
        lifeline.hold(config)


@pytest.hookimpl(trylast=True)  # once `-m` and `-k` have left out tests, or the parts would end elsewhere than xdist's
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long tests first in the part of the list that each of pytest's processes begins with.

    xdist hands out the list in equal parts, and who is done takes the end of another's: so what is left to take is
    quick, and nobody waits for one long test that came last. Tests of a module stay together, for its fixtures.
    """
    if processes := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
        items[:] = [item for part in parts(items, processes) for item in part]


def pytest_collection_finish() -> None:
    """From now on garbage is collected, and what was imported is not looked through each time."""
    gc.freeze()  # without a look for what is garbage already: it takes a second, and finds little
    gc.enable()


def pytest_unconfigure() -> None:
    """Python would look through everything once more at its end."""
    gc.freeze()


def parts(items: list[pytest.Item], processes: int) -> list[list[pytest.Item]]:
    """The tests in the parts that xdist makes: the longest modules dealt out first, each to whom has least to do.

    One process begins with those marked ``system``, and so makes the server and the study that they share; the others
    come to theirs when they have done what needs neither, and do not wait for it.
    """
    modules = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
    modules.sort(key=lambda tests: -sum(map(seconds, tests)))  # those that take nothing keep their order
    long = [tests for tests in modules if any(map(seconds, tests))]
    quick = [test for tests in modules[len(long) :] for test in tests]
    dealt: list[list[pytest.Item]] = [[] for _ in range(processes)]
    for tests in long:
        min(dealt, key=lambda part: sum(map(seconds, part))).extend(tests)
    of_system = {test.path for tests in long for test in tests if is_of_system(test)}
    for number, part in enumerate(dealt):
        part.sort(key=lambda test: (test.path in of_system) == (number > 0))
        left = len(items) - sum(map(len, dealt[:number]))
        lacking = max(0, left // (processes - number) - len(part))
        part += quick[:lacking]
        del quick[:lacking]
    return dealt


def is_of_system(item: pytest.Item) -> bool:
    """Whether a test is marked as one of servers, workers, clusters or whole studies."""
    return any(mark.name == "system" for mark in item.iter_markers())


def seconds(item: pytest.Item) -> float:
    """About what a test takes, by its markers: ``slow`` may give a number, as in ``slow(150)``."""
    return max(
        (float(*mark.args or (SECONDS[mark.name],)) for mark in item.iter_markers() if mark.name in SECONDS),
        default=0.0,
    )
