"""A Dask worker that dies while it samples, and a scheduler that dies between two stages.

A scheduler that dies within a stage is in test_cluster.py, a whole study that loses a worker in test_runners.py.
"""

import subprocess

import pytest
from prefect import flow

from flows.common import run_stages
from storage.records import records
from study.config import load_config
from study.study import Study
from tasks.progress import listening
from tasks.runner import Runner
from tests.paths import ROOT
from tests.ports import free_port
from tests.system.conftest import given
from tests.system.faults.conftest import (
    assert_undisturbed,
    collecting,
    figures,
    measured,
    next_unit,
    sampled,
    stamps,
    wait_for,
)
from tests.system.test_cluster import DASK, cluster_at, server, stage_of  # noqa: F401
from tests.system.test_runners import _workers

pytestmark = [pytest.mark.system, pytest.mark.faults]


@pytest.mark.timeout(600)
def test_a_dask_worker_that_dies_while_it_samples_costs_its_one_shard(site, uncollected, small_study, tmp_path):
    command = [*collecting(uncollected), *given("run.task_runner=dask")]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=site.client, stdout=log, stderr=log)
    try:
        wait_for(lambda: sampled(uncollected) or process.poll() is not None, 300, "nothing was sampled")
        workers = _workers(process.pid)
        assert len(workers) == 2, (tmp_path / "log").read_text()
        workers[0].kill()
        before = sampled(uncollected)
        written = stamps(uncollected, before)
        took = next_unit(uncollected, before)
        assert process.wait(300) == 0, (tmp_path / "log").read_text()
    finally:
        process.kill()
    again = site.begun_again(uncollected)
    assert stamps(uncollected, before) == written and again <= 2  # the lost one, and one whose record was there
    measured(
        "Dask worker killed", took, again, f"; {len(before)} of 5 shards were done and none of them was sampled again"
    )
    assert_undisturbed(uncollected, small_study)


def test_the_next_stage_finds_a_scheduler_that_was_lost_since_the_last_one(server, tmp_path):  # noqa: F811
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    settings = DASK.model_copy(update={"dask_address": address})
    config = load_config(ROOT / "configs" / "tiny.yaml")
    study = Study(str(tmp_path), config.model_copy(update={"run": settings}), "hash")
    processes: list[subprocess.Popen] = []

    def lose_it_after_the_first_stage(stage: str, done: int, total: int) -> None:
        if done == total == 3:
            for process in processes:
                process.kill()
                process.wait()
            processes.extend(cluster_at(port))

    @flow  # what it refers to is sent to the cluster, so that it knows of no processes
    def stages() -> list[int]:
        with Runner(settings) as runner:
            return [run_stages(study, [stage_of(shards)], runner) for shards in (3, 6)]

    processes.extend(cluster_at(port))
    try:
        with listening(lose_it_after_the_first_stage):
            assert stages() == [3, 3]
    finally:
        for process in processes:
            process.kill()
    assert len(processes) == 4
    done = [line.split()[0] for line in (tmp_path / "done.txt").read_text().splitlines()]
    assert sorted(done) == [str(shard) for shard in range(6)] and len(records(tmp_path, "collect")) == 6
    figures.append("Dask scheduler killed between stages: the next stage found the new one, units begun again: 0")
