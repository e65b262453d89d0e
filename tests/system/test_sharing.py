"""Several commands on one study at once: nothing is done twice, a killed one's unit is free after the lease."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from storage.claim_files import FOLDER
from storage.inspect import table_hashes
from storage.lock import writing
from storage.records import record_path, records
from study.verify import inspect_study
from tests.system import forked
from tests.system.conftest import SMALL, given

pytestmark = [pytest.mark.system, pytest.mark.slow(60)]
CONFIG = "configs/tiny.yaml"
SHARED = ["--share", "--set", "run.lease=3", *given(*SMALL)]


def begin(forks, folder: Path, *arguments: str):
    folder.mkdir()
    return forked.start(forks, arguments, folder)


def ended(process, folder: Path) -> str:
    process.join(300)
    assert process.exitcode == 0, (folder / "err").read_text()
    return (folder / "out").read_text()


def undo(root: Path, *stages: str) -> None:
    for stage in stages:
        shutil.rmtree(root / "done" / stage)


def hashes_of(root: Path) -> dict[str, str]:
    return {table: digest for table, digest in table_hashes(root).items() if table != "runs"}


def logged(out: Path) -> list[str]:
    """The units that a command's log, in JSON on stderr, says were made."""
    lines = [json.loads(line) for line in out.read_text().splitlines() if line.startswith("{")]
    return [line["unit"] for line in lines if line["unit"] and line["message"].startswith(f"{line['unit']}: ")]


def test_three_make_a_study_together_and_none_makes_what_another_has(forks, small_study, tmp_path):
    root = tmp_path / "study"
    arguments = ["run", CONFIG, "--root", str(root), *SHARED, "--set", "run.log_format=json"]
    three = [(begin(forks, tmp_path / str(n), *arguments), tmp_path / str(n)) for n in range(3)]
    for process, folder in three:
        ended(process, folder)
    units = [logged(folder / "err") for _, folder in three]
    everything = sorted(unit for of_one in units for unit in of_one)
    assert len(set(everything)) == len(everything) > 20  # each piece of work once
    assert sum(unit.startswith("collect ") for unit in everything) == len(records(root, "collect"))
    assert min(map(len, units)) > 0
    assert hashes_of(root) == hashes_of(small_study)
    report = inspect_study(root)
    assert not report.damage and not report.foreign and not (root / FOLDER).exists()
    assert len(records(root, "runs")) > 3  # a row of each command of each process


def test_a_killed_ones_unit_is_anothers_after_the_lease(forks, small, tmp_path):
    hashes = hashes_of(small)
    undo(small, "label", "train", "match", "layout")
    arguments = ["train", CONFIG, "--root", str(small), *SHARED]
    first = begin(forks, tmp_path / "first", *arguments)
    end = time.monotonic() + 100
    while not list((small / FOLDER / "train").rglob("*.claim")):
        assert first.is_alive() and time.monotonic() < end, (tmp_path / "first" / "err").read_text()
        time.sleep(0.01)
    forked.kill(first)
    (claim,) = (small / FOLDER / "train").rglob("*.claim")
    assert json.loads(claim.read_bytes())["pid"] == first.pid
    second = begin(forks, tmp_path / "second", *arguments)
    ended(second, tmp_path / "second")
    third = begin(forks, tmp_path / "third", "run", CONFIG, "--root", str(small), *SHARED)
    ended(third, tmp_path / "third")
    assert hashes_of(small) == hashes


def test_who_stood_still_notices_and_leaves_the_unit_to_who_has_it(forks, small, tmp_path):
    undo(small, "train", "match", "label", "layout")
    arguments = ["train", CONFIG, "--root", str(small), *SHARED]
    first = begin(forks, tmp_path / "first", *arguments, "--set", "run.log_format=json")
    end = time.monotonic() + 100
    while not list((small / FOLDER / "train").rglob("*.claim")):
        assert first.is_alive() and time.monotonic() < end, (tmp_path / "first" / "err").read_text()
        time.sleep(0.005)
    os.killpg(first.pid, signal.SIGSTOP)
    second = begin(forks, tmp_path / "second", *arguments)
    ended(second, tmp_path / "second")
    published = {unit: record_path(small, "train", unit).stat().st_mtime_ns for unit in records(small, "train")}
    os.killpg(first.pid, signal.SIGCONT)
    ended(first, tmp_path / "first")
    assert "was taken over by another process" in (tmp_path / "first" / "err").read_text()
    assert published == {unit: record_path(small, "train", unit).stat().st_mtime_ns for unit in published}
    assert not inspect_study(small).damage


def test_who_shares_keeps_out_who_does_not_and_the_other_way_round(launch, small):
    undo(small, "label", "layout")
    command = ["label", CONFIG, "--root", str(small), *given(*SMALL)]
    with writing(small, "another", share=True):
        refused = launch(*command)
        assert refused.returncode == 2 and "is being written by `another`" in refused.stderr
    with writing(small, "another"):
        refused = launch(*command, "--share")
        assert refused.returncode == 2 and "is being written by `another`" in refused.stderr
