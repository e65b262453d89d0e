"""Dask clusters that lose a worker or their scheduler, with real processes, and what they listen on."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import LocalCluster, get_worker
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
from tasks import cluster
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


@contextmanager
def two_workers(**declared: float):
    """The settings of a run on a cluster of two workers, each with two threads and what it declares."""
    given = {"n_workers": 2, "threads_per_worker": 2, "processes": False, "protocol": "tcp://", "host": "127.0.0.1"}
    with LocalCluster(**given, dashboard_address="127.0.0.1:0", resources=declared) as here:
        asked = {"dask_address": here.scheduler_address, "dask_resources": {"GPU": 1.0}}
        yield DASK.model_copy(update=asked)


TWO, FOUR = threading.Barrier(2), threading.Barrier(4)  # the cluster's threads are this process's


def one_of_two(study: Study, shard: int) -> dict:
    """Ends when another unit is under way with it."""
    return together(TWO, study, shard)


def one_of_four(study: Study, shard: int) -> dict:
    """Ends when three others are."""
    return together(FOUR, study, shard)


def together(those: threading.Barrier, study: Study, shard: int) -> dict:
    """Leaves a line: the worker, and when the unit began and ended."""
    began = time.monotonic()
    those.wait(60)
    with (Path(study.root) / "done.txt").open("a") as lines:
        lines.write(f"{get_worker().name} {began} {time.monotonic()}\n")
    publish(study, "collect", shard_name(shard), {})
    return {"shard": shard}


def most_at_once(folder: Path) -> dict[str, int]:
    """The most units that each worker was at together."""
    changes = defaultdict(list)
    for line in (folder / "done.txt").read_text().splitlines():
        worker, began, ended = line.split()
        changes[worker] += [(float(began), 1), (float(ended), -1)]
    return {worker: max(np.cumsum([step for _, step in sorted(of_one)])) for worker, of_one in changes.items()}


def test_a_worker_is_at_one_unit_for_each_device_that_it_declares_and_beside_it_at_others(server, tmp_path):
    stages = {"device": replace(stage_of(8), work=f"{__name__}:one_of_two")}
    stages["cpu"] = replace(stage_of(8), work=f"{__name__}:one_of_four", on_cpu=True)
    config = load_config(ROOT / "configs" / "tiny.yaml")

    @flow
    def both(settings: RunSettings) -> list[int]:
        with Runner(settings) as runner:
            for name, stage in stages.items():
                (tmp_path / name).mkdir()
                own = config.model_copy(update={"run": settings})
                assert run_stages(Study(str(tmp_path / name), own, "hash"), [stage], runner) == 8
            return [runner.slots(), runner.slots(on_cpu=True)]

    with two_workers(GPU=1) as settings:
        assert both(settings) == [2, 4]  # what those who share a study claim at once
    assert most_at_once(tmp_path / "device") == {"0": 1, "1": 1}
    assert most_at_once(tmp_path / "cpu") == {"0": 2, "1": 2}


def test_a_cluster_without_the_device_that_is_asked_for_is_one_sentence(server, monkeypatch):
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 1.0)

    @flow
    def refused(settings: RunSettings) -> None:
        with started_runner(settings):
            pass

    with two_workers(CPU=4) as settings, pytest.raises(StudyError) as told:
        refused(settings)
    assert re.fullmatch(
        r"the Dask scheduler tcp://127.0.0.1:\d+ has had no worker for 1 s that declares what run.dask_resources asks "
        "for: start one with `dask worker --resources 'GPU=1'`, or drop the setting",
        str(told.value),
    )
