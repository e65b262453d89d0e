"""Schedules that are due together, and a configuration that is broken where it is deployed; with a real worker."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.inspect import table_hashes
from tests.system.conftest import SMALL
from tests.system.faults.conftest import TINY, assert_undisturbed, figures, sampled, wait_for

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(600)]


def test_two_schedules_due_at_once_do_the_work_once(site, uncollected, small_study, tmp_path):
    path = f"deployments/{site.deployment('collect')}/schedules"
    due = datetime.now(UTC) + timedelta(seconds=12)
    parameters = {"config_path": TINY, "root": str(uncollected), "overrides": list(SMALL)}
    daily = [{"interval": 86400, "anchor_date": due.isoformat()}, {"interval": 43200, "anchor_date": due.isoformat()}]
    made = [wait_for(lambda one=one: _added(site, path, one, parameters), 60, "no schedule was made") for one in daily]
    try:
        with site.worker(tmp_path):
            runs = wait_for(lambda: _due(site, uncollected, due), 120, "the schedules made no runs")
            for run in runs:
                site.await_end(run)
    finally:
        for schedule in made:
            wait_for(lambda one=schedule: _removed(site, f"{path}/{one}"), 60, "a schedule stayed")
    begun = site.begun_again(uncollected)
    figures.append(f"two schedules due at once: both runs completed, units begun again: {begun}")
    assert begun == 0
    assert_undisturbed(uncollected, small_study)


def _added(site, path: str, schedule: dict, parameters: dict) -> str:
    given = {"active": True, "schedule": schedule, "parameters": parameters}
    import httpx

    answer = httpx.post(f"{site.url}/{path}", json=[given], timeout=60, trust_env=False).raise_for_status()
    return answer.json()[0]["id"]


def _removed(site, path: str) -> bool:
    site.ask("DELETE", path)
    return True


def _due(site, root: Path, due: datetime) -> list[str] | None:
    """The two runs that were due at that moment, once they are taken up."""
    asked = {"any_": site.runs_of(root)}
    runs = site.ask("POST", "flow_runs/filter", flow_runs={"id": asked})
    now = [run for run in runs if abs(datetime.fromisoformat(run["expected_start_time"]) - due) < timedelta(seconds=5)]
    return [run["id"] for run in now] if len(now) == 2 else None


def test_a_broken_configuration_fails_once_with_its_sentence_and_mended_it_goes_on(
    site, uncollected, small_study, tmp_path
):
    config = tmp_path / "deployed.yaml"
    whole = Path(TINY).read_text().replace("../", f"{Path(TINY).parents[1]}/")
    config.write_text(whole.replace("steps: 4", "stepps: 4"))
    before = table_hashes(uncollected)
    with site.worker(tmp_path):
        broken = site.run(uncollected, config=str(config))
        wait_for(lambda: site.state(broken)["type"] == "FAILED", 200, lambda: f"{site.state(broken)}; {site.said()}")
        assert "stepps" in site.state(broken)["message"]
        assert table_hashes(uncollected) == before and sampled(uncollected) == []
        config.write_text(whole)
        site.await_end(site.run(uncollected, config=str(config)))
    assert site.ask("GET", f"flow_runs/{broken}")["run_count"] == 1  # not started again by a rule
    figures.append(
        "a broken configuration deployed: failed with its sentence, nothing written; mended, the next goes on"
    )
    assert_undisturbed(uncollected, small_study)
