"""The clock is set back an hour in the middle of a run, for the run and for its server: the clock that they ask."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from storage.query import query
from tests.paths import ROOT
from tests.system.conftest import environment
from tests.system.faults.conftest import assert_undisturbed, collecting, measured, next_unit, sampled, stamps, wait_for

pytestmark = [pytest.mark.system, pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture
def clock(tmp_path):
    """A file whose size is how many seconds the clock is set back, and the variables of processes that go by it.

    (libfaketime 0.9.10 has Python's sleep fail where the monotonic clock is left alone, and no operator can set that.)
    """
    if not shutil.which("cc"):
        pytest.skip("a C compiler is missing: apt-get install gcc libc6-dev")
    library, back = tmp_path / "clock.so", tmp_path / "back"
    source = Path(__file__).with_name("clock.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    back.touch()
    return back, {"LD_PRELOAD": str(library), "CLOCK_SET_BACK": str(back)}


def test_a_clock_that_is_set_back_an_hour_changes_no_table(uncollected, small_study, new_home, clock, tmp_path):
    back, variables = clock
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            collecting(uncollected), cwd=ROOT, env=environment(new_home()) | variables, stdout=log, stderr=log
        )
        wait_for(lambda: sampled(uncollected) or process.poll() is not None, 300, "nothing was sampled")
        before = sampled(uncollected)
        written = stamps(uncollected, before)
        os.truncate(back, 3600)
        took = next_unit(uncollected, before)
        assert process.wait(300) == 0, (tmp_path / "log").read_text()
    asked = "select count(*) as n from runs where stage = 'collect' and ended < started"  # as the run saw it
    assert query(uncollected, asked).to_pylist() == [{"n": 1}]
    again = sum(stamp != written[shard] for shard, stamp in stamps(uncollected, before).items())
    measured("clock set back an hour", took, again)
    assert again == 0
    os.truncate(back, 7200)
    began = time.monotonic()
    done = subprocess.run(
        collecting(uncollected), cwd=ROOT, env=environment(new_home()) | variables, capture_output=True, text=True
    )
    assert done.returncode == 0 and time.monotonic() - began < 120, done.stderr
    assert_undisturbed(uncollected, small_study)
