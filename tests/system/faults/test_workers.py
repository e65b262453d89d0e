"""A worker dies in the middle of a unit, alone, with the flow that it runs, or the flow alone. With real processes."""

import time
from datetime import datetime
from operator import itemgetter

import pytest

from flows.automations import SILENT_SECONDS
from tests.system.faults.conftest import (
    START_SECONDS,
    assert_undisturbed,
    figures,
    flows_of,
    kill_all,
    measured,
    next_unit,
    sampled,
    wait_for,
)

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def silent(site, tmp_path_factory):
    """A run that says that it is running and never anything more, as one that is killed at that moment."""
    run = site.run(tmp_path_factory.mktemp("silent") / "none", config="none.yaml")  # fails at once, when started again
    for state in ("PENDING", "RUNNING"):
        site.ask("POST", f"flow_runs/{run}/set_state", state={"type": state}, force=True)
    return run


def begin(site, root, worker) -> tuple[str, list[str]]:
    """Start a run and wait until some shard is done, while others are under way."""
    run = site.run(root)
    wait_for(lambda: sampled(root), 300, lambda: f"nothing was sampled: {site.said()}")
    return run, sampled(root)


def test_a_flow_goes_on_when_its_worker_alone_is_killed(site, uncollected, small_study, tmp_path):
    with site.worker(tmp_path) as worker:
        run, before = begin(site, uncollected, worker)
        flow = flows_of(worker)[0]
        worker.kill()
        took = next_unit(uncollected, before)
        try:
            site.await_end(run)
        finally:
            kill_all(flow.pid)
    again = site.begun_again(uncollected)
    measured("worker alone killed", took, again)
    assert again == 0
    assert_undisturbed(uncollected, small_study)


def test_a_flow_that_is_killed_under_its_worker_is_started_again(site, uncollected, small_study, tmp_path):
    with site.worker(tmp_path) as worker:
        run, _ = begin(site, uncollected, worker)
        for process in flows_of(worker):
            process.kill()
        done = sampled(uncollected)
        took = next_unit(uncollected, done)
        site.await_end(run)
    again = site.begun_again(uncollected)
    measured("flow killed under its worker", took, again)
    assert again <= 2  # the shards that were under way, of two threads
    assert_undisturbed(uncollected, small_study)


def test_a_worker_killed_with_its_flow_costs_the_silence_and_the_units_under_way(
    site, uncollected, small_study, tmp_path
):
    with site.worker(tmp_path) as worker:
        run, _ = begin(site, uncollected, worker)
        kill_all(worker.pid)
        killed = time.monotonic()
        done = sampled(uncollected)
    with site.worker(tmp_path):
        wait_for(lambda: site.state(run)["name"] != "Running", SILENT_SECONDS + 60, "the run was not missed")
        noticed = time.monotonic() - killed
        took = time.monotonic() - killed + next_unit(uncollected, done)
        site.await_end(run)
    again = site.begun_again(uncollected)
    measured("worker and flow killed after a heartbeat", took, again, f", missed after {noticed:.0f} s")
    assert SILENT_SECONDS - 30 <= noticed <= SILENT_SECONDS + 45 and again <= 2
    assert_undisturbed(uncollected, small_study)


def test_a_worker_killed_with_a_flow_that_had_not_begun_frees_its_slot_for_the_next_run(
    site, uncollected, small_study, tmp_path
):
    """Of a deployment that one run at a time may have; else the next run would begin at once."""
    deployment = f"deployments/{site.deployment('collect')}"
    site.ask("PATCH", deployment, concurrency_limit=1)
    try:
        with site.worker(tmp_path) as worker:
            run = site.run(uncollected)
            wait_for(lambda: site.state(run)["type"] == "PENDING" and flows_of(worker), 120, "it was not taken up")
            kill_all(worker.pid)
        killed = time.monotonic()
        assert site.state(run)["type"] == "PENDING" and not sampled(uncollected)
        with site.worker(tmp_path):
            after = site.run(uncollected)
            wait_for(lambda: site.state(run)["type"] == "CRASHED", START_SECONDS + 90, lambda: f"{site.state(run)}")
            noticed = time.monotonic() - killed
            took = noticed + next_unit(uncollected, [])
            site.await_end(after)
    finally:
        site.ask("PATCH", deployment, concurrency_limit=None)
    assert "It did not begin" in site.state(run)["message"] and site.ask("GET", f"flow_runs/{run}")["run_count"] == 0
    again = site.begun_again(uncollected)
    late = noticed - START_SECONDS
    measured(
        "worker and flow killed before the run began",
        took,
        again,
        f"; missed {late:.0f} s after the rule's time, here {START_SECONDS} s, and its slot was free",
    )
    assert again == 0
    assert_undisturbed(uncollected, small_study)


def test_a_run_that_fell_silent_before_its_first_heartbeat_is_missed_too(site, silent):
    """Begun before the other tests of this file, which it waits beside."""

    def told() -> dict[str, dict] | None:
        states: dict[str, dict] = {}  # the first of each: started again, it may be killed by the tests beside it
        for one in sorted(site.ask("GET", f"flow_run_states/?flow_run_id={silent}"), key=itemgetter("timestamp")):
            states.setdefault(one["type"], one)
        return states if "CRASHED" in states else None

    states = wait_for(told, SILENT_SECONDS + 60, "the run was not missed")
    assert "No heartbeat" in states["CRASHED"]["message"]
    began, missed = (datetime.fromisoformat(states[name]["timestamp"]) for name in ("RUNNING", "CRASHED"))
    figures.append(f"killed between its beginning and its first heartbeat: missed after {(missed - began).seconds} s")
    assert SILENT_SECONDS <= (missed - began).seconds <= SILENT_SECONDS + 45
