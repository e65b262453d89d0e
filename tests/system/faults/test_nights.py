"""A study that grows by its schedule: ``concepts serve``, three nights of a minute each, and captions between them."""

import json
import signal
import subprocess
from contextlib import contextmanager
from datetime import UTC, datetime

import psutil
import pytest

from storage.growth import growths_of
from storage.inspect import table_hashes
from storage.records import record_path, records
from storage.tables import read_table
from study.verify import verify
from tests.paths import ROOT
from tests.plain import make
from tests.system.conftest import concepts, environment
from tests.system.faults.conftest import Server, figures, kill_all, wait_for
from tests.tasks.test_growing_study import NIGHTS, REFRESHED, SIZE, arrive, config

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(1200)]


@contextmanager
def served(folder, path, root, home):
    """``concepts serve`` with a run every minute, until the context ends; yields its server."""
    server = Server(environment(home))
    log = (folder / "serve.log").open("w")
    command = concepts("serve", str(path), "--root", str(root), "--cron", "* * * * *", "--port", str(server.port))
    process = subprocess.Popen(command, cwd=ROOT, env=server.variables, stdout=log, stderr=log)
    try:
        server.log = folder / "serve.log"
        wait_for(lambda: server.ask("GET", "health"), 200, server.said)
        yield server
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        if psutil.pid_exists(process.pid):
            kill_all(process.pid)
        process.wait()
        log.close()


def arrived(source, night, folder):
    """A night's file comes in, whole; returns when that was."""
    arrive(folder, night)
    source.mkdir(exist_ok=True)
    (folder / f"{night}.parquet").rename(source / f"{night}.parquet")
    return datetime.now(UTC)


def completed_since(server, moment):
    """A scheduled run that began after ``moment`` and is complete."""
    for run in server.ask("POST", "flow_runs/filter", sort="START_TIME_ASC"):
        began = run["start_time"]
        if run["auto_scheduled"] and began and datetime.fromisoformat(began) > moment:
            assert run["state"]["type"] not in {"FAILED", "CRASHED"}, (run["state"], server.said())
            if run["state"]["type"] == "COMPLETED":
                return run["id"]
    return None


def collected(root):
    """Shard -> when its record was written, and how large its part of the store is."""
    return {
        shard: (
            record_path(root, "collect", shard).stat().st_mtime_ns,
            (root / f"activations.zarr/mid/1.00/cond/c/{int(shard)}/0/0/0").stat().st_mtime_ns,
        )
        for shard in records(root, "collect")
    }


def test_each_night_a_scheduled_run_does_the_new_captions_alone(tmp_path, new_home):
    source, root = tmp_path / "source", tmp_path / "study"
    path = tmp_path / "nightly.json"
    path.write_text(json.dumps(config(source, *REFRESHED).model_dump(mode="json")))
    before, told = {}, []
    moment = arrived(source, 0, tmp_path / "arriving")
    with served(tmp_path, path, root, new_home()) as server:
        for night in range(len(NIGHTS)):
            if night:
                moment = arrived(source, night, tmp_path / "arriving")
            wait_for(lambda since=moment: completed_since(server, since), 400, server.said)
            now = collected(root)
            assert len(now) == len(growths_of(root).splits) > len(before)
            assert {shard: now[shard] for shard in before} == before  # neither sampled again nor written again
            told.append(len(now) - len(before))
            before = now
        moment = datetime.now(UTC)
        wait_for(lambda: completed_since(server, moment), 400, server.said)  # a night without captions
        assert collected(root) == before
    make(tmp_path / "once", config(source, *REFRESHED))
    assert table_hashes(root) == table_hashes(tmp_path / "once")
    assert verify(root) == []
    assert read_table(root, "prompts").num_rows == SIZE * len(before)
    figures.append(f"three nights by the schedule of `concepts serve`: {told} new shards, none sampled twice")
