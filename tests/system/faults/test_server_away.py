"""The Prefect server is gone for ninety seconds in the middle of a command's run and of a worker's."""

import shutil
import subprocess
import time

import pytest

from tests.paths import ROOT
from tests.system.faults.conftest import assert_undisturbed, collecting, measured, next_unit, sampled, wait_for

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(900)]
AWAY = 90


def test_runs_outlast_a_server_that_is_away_for_ninety_seconds(site, uncollected, small_study, tmp_path):
    other = shutil.copytree(uncollected, tmp_path / "of-the-command")
    with site.worker(tmp_path), (tmp_path / "command.log").open("w") as log:
        run = site.run(uncollected)
        command = subprocess.Popen(collecting(other), cwd=ROOT, env=site.client, stdout=log, stderr=log)
        wait_for(lambda: sampled(uncollected) and sampled(other), 300, lambda: f"nothing was sampled: {site.said()}")
        site.kill()
        gone, before = time.time(), sampled(uncollected)
        time.sleep(AWAY)
        site.start()
        back = time.monotonic()
        took = next_unit(uncollected, before, gone) if len(before) < 5 else 0.0
        assert command.wait(400) == 0, (tmp_path / "command.log").read_text()
        site.await_end(run)
        ended = time.monotonic() - back
    again = max(site.begun_again(uncollected), site.begun_again(other))
    starts = site.ask("GET", f"flow_runs/{run}")["run_count"]
    assert starts <= 2  # heartbeats were lost, too: the run may be taken for silent, and its second start waits for it
    measured(
        f"server away for {AWAY} s", took, again, f"; the run ended {ended:.0f} s after it was back, starts: {starts}"
    )
    assert again == 0
    assert_undisturbed(uncollected, small_study)
    assert_undisturbed(other, small_study)
