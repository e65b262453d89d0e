"""Several commands on one study at once: nothing is done twice, a killed one's unit is free after the lease."""

import json
import os
import re
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

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.slow(60)]
CONFIG = "configs/tiny.yaml"
SHARED = ["--share", "--set", "run.lease=3", *given(*SMALL)]


def begin(forks, folder: Path, *arguments: str):
    folder.mkdir()
    return forked.start(forks, arguments, folder)


def begin_and_claim(forks, folder: Path, root: Path, *arguments: str):
    """A command that has just claimed a site to train."""
    process = begin(forks, folder, *arguments)
    end = time.monotonic() + 100
    while not list((root / FOLDER / "train").rglob("*.claim")):
        assert process.is_alive() and time.monotonic() < end, (folder / "err").read_text()
        time.sleep(0.005)
    return process


def ended(process, folder: Path) -> str:
    process.join(300)
    assert process.exitcode == 0, (folder / "err").read_text()
    return (folder / "out").read_text()


def undo(root: Path, *stages: str) -> None:
    for stage in stages:
        shutil.rmtree(root / "done" / stage)


def hashes_of(root: Path) -> dict[str, str]:
    return {table: digest for table, digest in table_hashes(root).items() if table != "runs"}


def made(out: str) -> dict[str, tuple[int, int]]:
    """Command -> the units that there are, and those that this process says it has made."""
    found = re.findall(r"^(\w+): units (\d+), made now (\d+)", out, re.MULTILINE)
    return {command: (int(units), int(own)) for command, units, own in found}


def test_three_make_a_study_together_and_none_makes_what_another_has(forks, small_study, tmp_path):
    root = tmp_path / "study"
    arguments = ["run", CONFIG, "--root", str(root), *SHARED]
    three = [(begin(forks, tmp_path / str(n), *arguments), tmp_path / str(n)) for n in range(3)]
    told = [made(ended(process, folder)) for process, folder in three]
    for command in ("collect", "train", "label", "layout", "intervene", "figures"):
        assert sum(one[command][1] for one in told) == told[0][command][0]  # each unit once
    assert hashes_of(root) == hashes_of(small_study)
    report = inspect_study(root)
    assert not report.damage and not report.foreign and not (root / FOLDER).exists()
    assert len(records(root, "runs")) > 3  # a row of each command of each process


def test_a_killed_ones_unit_is_anothers_after_the_lease(forks, small, tmp_path):
    hashes = hashes_of(small)
    undo(small, "label", "train", "match", "layout")
    arguments = ["train", CONFIG, "--root", str(small), *SHARED]
    first = begin_and_claim(forks, tmp_path / "first", small, *arguments)
    forked.kill(first)
    (claim,) = (small / FOLDER / "train").rglob("*.claim")
    assert json.loads(claim.read_bytes())["pid"] == first.pid
    second = begin(forks, tmp_path / "second", *arguments)
    ended(second, tmp_path / "second")
    third = begin(forks, tmp_path / "third", "run", CONFIG, "--root", str(small), *SHARED)
    ended(third, tmp_path / "third")
    assert hashes_of(small) == hashes


def test_who_stood_still_notices_and_leaves_the_unit_to_who_has_it(forks, small, tmp_path):
    hashes = hashes_of(small)
    undo(small, "train", "match", "label", "layout")
    arguments = ["train", CONFIG, "--root", str(small), *SHARED]
    first = begin_and_claim(forks, tmp_path / "first", small, *arguments)
    os.killpg(first.pid, signal.SIGSTOP)
    second = begin(forks, tmp_path / "second", *arguments)
    ended(second, tmp_path / "second")
    published = {unit: record_path(small, "train", unit).stat().st_mtime_ns for unit in records(small, "train")}
    os.killpg(first.pid, signal.SIGCONT)
    ended(first, tmp_path / "first")
    assert published == {unit: record_path(small, "train", unit).stat().st_mtime_ns for unit in published}
    ended(begin(forks, tmp_path / "rest", "run", CONFIG, "--root", str(small), *SHARED), tmp_path / "rest")
    assert hashes_of(small) == hashes and not inspect_study(small).damage


def test_who_shares_keeps_out_who_does_not_and_the_other_way_round(launch, small):
    undo(small, "label", "layout")
    command = ["label", CONFIG, "--root", str(small), *given(*SMALL)]
    with writing(small, "another", share=True):
        refused = launch(*command)
        assert refused.returncode == 2 and "is being written by `another`" in refused.stderr
    with writing(small, "another"):
        refused = launch(*command, "--share")
        assert refused.returncode == 2 and "is being written by `another`" in refused.stderr
