"""Commands that write wait for each other or say who is at it; those that read never mind, and write nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli
from storage.lock import NAME, writing
from storage.records import record_path, records
from tests.paths import ROOT
from tests.system.conftest import concepts

pytestmark = pytest.mark.system
CONFIG = "configs/tiny.yaml"
HOLD = (
    "import sys; from storage.lock import writing\nwith writing(sys.argv[1], 'concepts run'): print(); sys.stdin.read()"
)


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(p.relative_to(root)): (p.stat().st_mtime_ns, p.read_bytes() if p.is_file() else b"")
        for p in root.rglob("*")
    }


@pytest.fixture
def held(copy):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(copy)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def test_what_writes_is_refused_with_who_is_at_it_and_what_reads_is_not(copy, held, capsys):
    record, study = record_path(copy, "label", records(copy, "label")[0]), [CONFIG, "--root", str(copy)]
    kept = record.read_bytes()
    record.unlink()  # a stage that has nothing to do only reads
    before = contents(copy)
    writers = [["run", *study], ["label", *study], ["card", str(copy)]]
    writers.append(["revise", *study, "--set", "layout.bootstrap=101"])
    for arguments in writers:
        assert cli.main(arguments) == 2, arguments
        assert f"is being written by `concepts run` (process {held.pid} on" in capsys.readouterr().err
    assert contents(copy) == before
    record.write_bytes(kept)
    before = contents(copy)
    readers = [["status", str(copy)], ["verify", str(copy)], ["query", str(copy), "select 1"], ["run", *study]]
    readers.append(["revise", *study, "--set", "layout.bootstrap=101", "--dry-run"])
    for arguments in readers:
        assert cli.main(arguments) == 0, arguments
    assert contents(copy) == before


def test_a_run_waits_for_the_one_before_and_its_death_is_enough(copy, held, served):
    waiting = subprocess.Popen(
        concepts("revise", CONFIG, "--root", str(copy), "--set", "layout.bootstrap=101", "--wait=120"),
        cwd=ROOT,
        env=served,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr.readline().startswith("waiting for `concepts run`")
    os.kill(held.pid, signal.SIGKILL)
    out, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0 and "study.yaml holds the new settings" in out


def test_reading_and_dry_runs_leave_no_trace(copy, tmp_path, capsys):
    (copy / NAME).unlink()  # as in a folder from before there was one
    before = contents(copy)
    assert cli.main(["revise", CONFIG, "--root", str(copy), "--set", "layout.bootstrap=101", "--dry-run"]) == 0
    assert cli.main(["status", str(copy)]) == cli.main(["verify", str(copy)]) == 0
    assert contents(copy) == before
    nowhere = tmp_path / "nowhere"
    for arguments in (["status", str(nowhere)], ["revise", CONFIG, "--root", str(nowhere)], ["card", str(nowhere)]):
        assert cli.main(arguments) == 2 and "is not a study folder" in capsys.readouterr().err
    assert cli.main(["run", CONFIG, "--root", str(nowhere), "--set", "model.path=./none"]) == 2
    assert cli.main(["bench", CONFIG, "--root", str(nowhere)]) == 2
    assert not nowhere.exists()


def test_a_second_flow_in_this_process_goes_in(copy):
    from flows.common import stage

    with writing(copy, "outer"), stage("figures", str(ROOT / CONFIG), str(copy), None) as study:
        assert study.root == str(copy)


@pytest.mark.parametrize("given", ["--wait=soon", "--wait=-1", "--wait=nan"])
def test_what_is_no_time_to_wait_is_said(given, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", CONFIG, "--root", "x", given])
    assert ended.value.code == 2 and "is no number of seconds" in capsys.readouterr().err
