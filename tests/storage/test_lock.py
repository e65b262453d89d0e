"""One writer per folder, among real processes: who holds it is said, a death frees it, one's own threads share it."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from storage.errors import StorageError
from storage.lock import NAME, writing
from tests.paths import ROOT

HOLD = """
import os, sys, time
from storage.lock import writing
with writing(sys.argv[1], "concepts run"):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(60)
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds the folder until it is killed or ``end`` is called."""

    def __init__(self, root, how="alone"):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(root), how],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout.readline() == "held\n"

    def end(self):
        self.process.stdin.close()
        self.process.wait()

    def clear(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def hold():
    held = []

    def start(root, how="alone"):
        held.append(Holder(root, how))
        return held[-1]

    yield start
    for holder in held:
        holder.clear()


def free(root, wait=0) -> bool:
    try:
        with writing(root, "test", wait):
            return True
    except StorageError:
        return False


def test_a_second_process_is_told_who_holds_the_folder_and_a_death_frees_it(hold, tmp_path):
    holder = hold(tmp_path)
    with pytest.raises(StorageError) as error, writing(tmp_path, "test"):
        raise AssertionError("two writers")
    says = str(error.value)
    assert f"`concepts run` (process {holder.process.pid} on {os.uname().nodename}, since 20" in says
    assert "--wait" in says and "\n" not in says
    os.kill(holder.process.pid, signal.SIGKILL)
    holder.process.wait()
    assert free(tmp_path)


def test_a_forked_child_does_not_hold_it_beyond_its_parent(hold, tmp_path):
    holder = hold(tmp_path, "fork")
    os.kill(holder.process.pid, signal.SIGKILL)  # the child lives on, and may not have come to forget the lock yet
    holder.process.wait()
    assert free(tmp_path, wait=30)


def test_waiting_ends_with_the_holder_or_with_patience(hold, tmp_path, capsys):
    holder = hold(tmp_path)
    with pytest.raises(StorageError, match="is being written by"), writing(tmp_path, "test", wait=0.05):
        pass
    threading.Timer(0.2, holder.end).start()
    with writing(tmp_path, "test", wait=60):
        assert holder.process.poll() is not None
    assert capsys.readouterr().err.count("waiting for `concepts run`") == 2


def test_a_process_takes_its_own_lock_again_in_any_thread(tmp_path):
    other = [sys.executable, "-c", "import sys; from storage.lock import writing; writing(sys.argv[1], '').__enter__()"]

    def refused() -> bool:
        return subprocess.run([*other, str(tmp_path)], cwd=ROOT, capture_output=True).returncode != 0

    inside, leave = threading.Event(), threading.Event()

    def second() -> None:
        with writing(tmp_path / "." / "", "inner"):  # another spelling of the same folder
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=second)
    with writing(tmp_path, "outer"):
        thread.start()
        assert inside.wait(60) and refused()
    assert refused()  # the thread still holds it
    leave.set()
    thread.join()
    assert not refused()


def test_the_folder_is_made_and_a_stale_text_says_nothing(tmp_path):
    root = tmp_path / "new" / "study"
    with writing(root, "test"):
        assert (root / NAME).exists()
    (root / NAME).write_text('{"pid": 1, "command": "of a dead process"}')
    assert free(root)


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch, code):
    def refuse(*_arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    said = r"cannot write .*make its folder writable or choose another --root"
    with pytest.raises(StorageError, match=said), writing(tmp_path, "test"):
        pass


def test_a_file_system_without_locks_is_said_and_gone_on_with(tmp_path, monkeypatch, capsys):
    def refuse(*_arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with writing(tmp_path, "test"):
        pass
    assert "its file system has no locks: see to it that one command" in capsys.readouterr().err


def test_many_processes_write_one_after_the_other(tmp_path):
    """Each adds one to a number by reading and writing it: without a lock between them, some would be lost."""
    count = tmp_path / "count"
    count.write_text("0")
    add = (
        "import sys, time; from pathlib import Path; from storage import lock\n"
        "lock.POLL_SECONDS = 0.01\n"
        "count = Path(sys.argv[1]) / 'count'\n"
        "for _ in range(5):\n"
        "    with lock.writing(sys.argv[1], 'add', wait=60):\n"
        "        found = int(count.read_text()); time.sleep(0.002); count.write_text(str(found + 1))\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", add, str(tmp_path)], cwd=ROOT) for _ in range(4)]
    end = time.time() + 120
    assert [process.wait(max(1.0, end - time.time())) for process in several] == [0] * 4
    assert count.read_text() == "20"
