"""What is tried again and what is not, on Prefect's own engine."""

import threading
import time

import pytest
from prefect import flow, task
from prefect.testing.utilities import prefect_test_harness

from storage.errors import StorageError
from tasks.config import RunSettings
from tasks.progress import StageProgress
from tasks.runner import run_units, with_retries

pytestmark = pytest.mark.system
SETTINGS = RunSettings(retries=2, retry_delay=0.0, max_workers=2)


@pytest.fixture(scope="module", autouse=True)
def server():
    with prefect_test_harness():
        yield


def run(unit, names):
    attempts = []

    @task
    def attempt(name: str) -> str:
        attempts.append(name)
        return unit(name, attempts.count(name))

    @flow
    def stage() -> list[str]:
        retried = with_retries(attempt, SETTINGS)
        progress = StageProgress("test", 0, len(names))
        return run_units(SETTINGS, progress, lambda runner, name: runner.submit(retried, {"name": name}), names)

    return stage, attempts


def test_a_passing_failure_is_tried_again():
    def unit(name, attempt):
        if attempt < 3:
            raise OSError("the network is away")
        return name

    stage, attempts = run(unit, ["a"])
    assert stage() == ["a"] and attempts == ["a", "a", "a"]


def test_a_users_mistake_is_not_tried_again_and_the_other_units_end():
    under_way, ended = threading.Event(), []

    def unit(name, attempt):
        if name == "bad":
            assert under_way.wait(60)
            raise StorageError("no such column")
        under_way.set()
        time.sleep(0.5)
        ended.append(name)
        return name

    stage, attempts = run(unit, ["good", "bad"])
    with pytest.raises(StorageError, match="no such column"):
        stage()
    assert sorted(attempts) == ["bad", "good"] and ended == ["good"]
