"""Dask clusters that lose a worker or their scheduler, with real processes, and what they listen on."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
from prefect import flow, task
from prefect.settings import PREFECT_HOME, temporary_settings

from flows.common import run_stages
from flows.server import prefect_server
from storage.records import records
from study.config import RunSettings, load_config
from study.errors import StudyError
from study.paths import shard_name
from study.publish import publish
from study.slots import on_a_device
from study.stage import Stage
from study.study import Study
from tasks.progress import StageProgress, listening
from tasks.runner import Runner, Step, started_runner
from tasks.units import task_of, works_of
from tests.paths import ROOT
from tests.ports import free_port

pytestmark = pytest.mark.system
DASK = RunSettings(task_runner="dask", max_workers=2, retries=0)


@pytest.fixture(scope="module")
def server(new_home):
    home = {PREFECT_HOME: new_home()}
    with pytest.MonkeyPatch.context() as patch, temporary_settings(home):
        patch.setenv("PREFECT_HOME", str(home[PREFECT_HOME]))
        with prefect_server():
            yield


def unit(study: Study, shard: int) -> dict:
    """Takes a tenth of a second, and leaves a line a time that it was really done."""
    with (Path(study.root) / "done.txt").open("a") as lines:
        lines.write(f"{shard} {os.getpid()}\n")
    time.sleep(0.1)
    publish(study, "collect", shard_name(shard), {})
    return {"shard": shard}


def stage_of(shards: int) -> Stage:
    """The stage ``collect`` with another work; what is imported by name in another process lies in this module."""
    return Stage("collect", "collect", f"{__name__}:unit", partial(numbered, shards))


def numbered(shards: int, _study: Study) -> dict:
    return {shard_name(shard): {"shard": shard} for shard in range(shards)}


@pytest.mark.faults
def test_what_a_killed_worker_had_finished_is_not_done_again(server, tmp_path):
    config = load_config(ROOT / "configs" / "tiny.yaml")
    study, shards = Study(str(tmp_path), config, "hash"), 16
    killed = []

    def kill_one_when_half_is_done() -> None:
        if len(records(tmp_path, "collect")) >= shards // 2 and not killed:
            killed.append(int((tmp_path / "done.txt").read_text().split()[1]))
            os.kill(killed[0], signal.SIGKILL)

    @flow
    def stage() -> int:
        progress = StageProgress("collect", 0, shards)
        progress.step = lambda units=1: kill_one_when_half_is_done()
        works = works_of(study, stage_of(shards))
        with Runner(DASK) as runner:
            return len(runner.run([[Step(task_of(w.stage), {"study": study, "work": w}, progress)] for w in works]))

    assert stage() == shards and killed
    times = [line.split()[0] for line in (tmp_path / "done.txt").read_text().splitlines()]
    assert set(times) == {str(shard) for shard in range(shards)}
    assert len(times) <= shards + 1  # the one that the worker was at


@task
def device_held(study: Study) -> str:
    with on_a_device(study) as here:
        time.sleep(0.3)  # until the other worker is at the other one
        return here.config.model.device


def test_a_local_cluster_listens_on_loopback_alone_and_beside_another_a_device_a_worker(server):
    config = load_config(ROOT / "configs" / "tiny.yaml", ["run.devices=['cpu:0', 'cpu:1']"])
    devices = []

    @flow
    def listening() -> list:
        with started_runner(DASK) as one, started_runner(DASK) as other:
            given = [{"study": Study("", config, "")} for _ in range(2)]
            devices.extend(future.result() for future in [one.submit(device_held, each) for each in given])
            assert one.client.scheduler.address != other.client.scheduler.address
            me = psutil.Process()
            ours = [me, *me.children(recursive=True)]
            return [c.laddr.ip for p in ours for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]

    found = listening()
    assert len(found) >= 6 and set(found) == {"127.0.0.1"}
    assert sorted(devices) == ["cpu:0", "cpu:1"]


def test_a_scheduler_that_is_not_there_is_one_sentence(server):
    @flow
    def nowhere() -> None:
        with started_runner(DASK.model_copy(update={"dask_address": f"tcp://127.0.0.1:{free_port()}"}), 1.0):
            pass

    with pytest.raises(StudyError, match=r"no Dask scheduler answers there .*: start it, or leave the setting empty"):
        nowhere()


def cluster_at(port: int) -> list[subprocess.Popen]:
    """A scheduler on this port and one worker, as processes of their own."""
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", str(port), "--dashboard-address", "127.0.0.1:0")
    worker = ("worker", f"tcp://127.0.0.1:{port}", "--nthreads", "1", "--no-dashboard")
    commands = ([sys.executable, "-m", "dask", *arguments] for arguments in (scheduler, worker))
    silent = subprocess.DEVNULL
    return [subprocess.Popen(command, cwd=ROOT, stdout=silent, stderr=silent) for command in commands]


@pytest.mark.faults
def test_a_stage_outlives_its_clusters_scheduler(server, tmp_path):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    config = load_config(ROOT / "configs" / "tiny.yaml")
    settings = DASK.model_copy(update={"dask_address": address})
    study = Study(str(tmp_path), config.model_copy(update={"run": settings}), "hash")
    processes: list[subprocess.Popen] = []

    def lose_it_when_half_is_done(stage: str, done: int, total: int) -> None:
        if done >= 10 and len(processes) == 2:
            for process in processes:
                process.kill()
            processes.extend(cluster_at(port))

    @flow
    def stage() -> int:
        with Runner(settings) as runner:
            return run_stages(study, [stage_of(20)], runner)

    processes.extend(cluster_at(port))
    try:
        with listening(lose_it_when_half_is_done):
            assert stage() == 20
    finally:
        for process in processes:
            process.kill()
    assert len(processes) == 4 and len(records(tmp_path, "collect")) == 20
    times = [line.split()[0] for line in (tmp_path / "done.txt").read_text().splitlines()]
    assert len(times) <= 21  # the one that was under way
