"""What is tried again and what is not, on Prefect's own engine."""

import contextlib
import threading
import time

import pytest
from prefect import flow, task
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.server import prefect_server
from storage.errors import StorageError
from study.config import RunSettings
from tasks import runner as runner_module
from tasks.progress import StageProgress
from tasks.runner import Runner, Step

pytestmark = pytest.mark.system
SETTINGS = RunSettings(retries=2, retry_delay=0.0, max_workers=2)


@pytest.fixture(scope="module", autouse=True)
def server(new_home):
    """As a command has one. Prefect's own harness waits at its end for every event, for ever if one cannot be sent."""
    home = new_home()
    with (
        pytest.MonkeyPatch.context() as patched,
        temporary_settings({PREFECT_HOME: home}, restore_defaults={PREFECT_API_URL}),
    ):
        patched.setenv("PREFECT_HOME", str(home))
        with prefect_server():
            yield


def run_chains(settings, given):
    with Runner(settings) as runner:
        return runner.run(given)


def run(unit, names):
    attempts = []

    @task
    def attempt(name: str) -> str:
        attempts.append(name)
        return unit(name, attempts.count(name))

    @flow
    def stage() -> list[str]:
        progress = StageProgress("test", 0, len(names))
        return run_chains(SETTINGS, [[Step(attempt, {"name": name}, progress)] for name in names])

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


def chains(unit, names, steps=("tag", "detect", "segment"), workers=2):
    """A flow that runs a chain of steps for every name; ``unit(step, name)`` is what a step does. And its calls."""
    calls = []

    def act(step: str, name: str) -> None:
        calls.append(("begin", step, name))
        unit(step, name)
        calls.append(("end", step, name))

    @flow
    def stage() -> int:
        settings = SETTINGS.model_copy(update={"max_workers": workers})
        progress = {step: StageProgress(step, 0, len(names)) for step in steps}
        given = [[Step(task(act), {"step": s, "name": n}, progress[s]) for s in steps] for n in names]
        return len(run_chains(settings, given))

    return stage, calls


@pytest.mark.parametrize("workers", [1, 2])
def test_a_chain_runs_in_order_and_chains_side_by_side(workers):
    stage, calls = chains(lambda step, name: time.sleep(0.05), ["a", "b", "c"], workers=workers)
    assert stage() == 9 and len(calls) == 18
    for name in "abc":
        mine = [call[:2] for call in calls if call[2] == name]
        assert mine == [(what, step) for step in ("tag", "detect", "segment") for what in ("begin", "end")]


def test_the_error_of_the_step_that_failed_is_raised_after_what_is_under_way():
    under_way = threading.Event()

    def unit(step, name):
        if (step, name) == ("tag", "bad"):
            assert under_way.wait(60)
            raise StorageError("no such column")
        if (step, name) == ("tag", "good"):
            under_way.set()
            time.sleep(0.5)

    stage, calls = chains(unit, ["good", "bad"])
    with pytest.raises(StorageError, match="no such column"):
        stage()
    assert ("end", "tag", "good") in calls
    assert not [call for call in calls if call[2] == "bad" and call[1] != "tag"]
    assert calls.count(("begin", "tag", "bad")) == 1  # a user's mistake is not tried again


@pytest.mark.parametrize("failing", ["tag", "detect", "segment"])
def test_whichever_step_fails_says_so_itself(failing):
    def unit(step, name):
        if step == failing:
            raise OSError(f"{step} of {name} failed")

    stage, calls = chains(unit, ["a"])
    with pytest.raises(OSError, match=f"{failing} of a failed"):
        stage()
    assert calls.count(("begin", failing, "a")) == 3  # twice tried again


def test_the_results_of_every_step_are_returned():
    @task
    def act(step: str) -> str:
        return step

    @flow
    def stage() -> list[str]:
        progress = StageProgress("test", 0, 3)
        return run_chains(SETTINGS, [[Step(act, {"step": step}, progress) for step in chain] for chain in ("ab", "c")])

    assert sorted(stage()) == ["a", "b", "c"]


def test_a_runner_is_kept_for_the_next_stage_and_started_anew_after_a_failure(monkeypatch):
    started = []

    @contextlib.contextmanager
    def noting(settings, patience):
        started.append(patience)
        with original(settings, patience) as runner:
            yield runner

    original = runner_module.started_runner
    monkeypatch.setattr(runner_module, "started_runner", noting)

    @task
    def act(fails: bool) -> str:
        if fails:
            raise StorageError("no such column")
        return "done"

    @flow
    def stage() -> None:
        progress = StageProgress("test", 0, 4)
        with Runner(SETTINGS) as runner:
            for _ in range(2):
                assert runner.run([[Step(act, {"fails": False}, progress)]], 1.0) == ["done"]
            assert started == [1.0]
            with pytest.raises(StorageError, match="no such column"):
                runner.run([[Step(act, {"fails": True}, progress)]], 2.0)
            assert runner.run([[Step(act, {"fails": False}, progress)]], 3.0) == ["done"]
        assert started == [1.0, 3.0]

    stage()
