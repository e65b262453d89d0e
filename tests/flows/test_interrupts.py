"""A signal ends a command within seconds, wherever its main thread is, with what it started and with the right code."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.paths import ROOT

# It says that it has begun from within what catches the signal: told a step earlier, the signal could come before that.
COMMAND = """
import hashlib, subprocess, sys, threading, time
from flows.interrupts import ended_by_signals, end_if_told, farewell

def wait(begun):
    {wait}

child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
threading.Thread(target=time.sleep, args=(600,)).start()  # a unit of work, for which Python would wait
with ended_by_signals({grace}), farewell(lambda: print("farewell", flush=True)):
    wait(lambda: print(child.pid, flush=True))
"""
ASLEEP, DEEP = "begun(); time.sleep(600)", "begun(); hashlib.pbkdf2_hmac('sha256', b'', b'', 2**31 - 1)"
STUBBORN = """
    told = False
    while True:
        try:
            told = told or begun() is None
            time.sleep(600)
        except KeyboardInterrupt:
            pass"""
GRACEFUL = """
    try:
        begun()
        time.sleep(600)
    except KeyboardInterrupt:
        print('paused', flush=True)
    end_if_told()"""


def deaf() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def hearing() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and these tests may be one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(wait: str, grace: float = 0.0, prepare=hearing) -> tuple[subprocess.Popen, psutil.Process]:
    """The command, when it has begun, and the process that it has started."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND.format(wait=wait, grace=grace)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
@pytest.mark.parametrize("wait", [ASLEEP, DEEP], ids=["asleep", "deep"])
def test_a_signal_ends_the_command_and_what_it_started(number, wait):
    process, child = start(wait)
    process.send_signal(number)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == 128 + number
    assert out == "farewell\n" and errors.startswith("interrupted; what was finished is kept") and "Trace" not in errors
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "write", ["sys.stderr.write('work\\n')", "os.write(2, b'work\\n')", "os.system('echo work >&2')"]
)
def test_nothing_follows_the_last_words_of_a_command_still_at_work(write):
    words = f"import os, sys; from flows.interrupts import say_last; {write}; say_last('ended'); {write}"
    ended = subprocess.run([sys.executable, "-c", words], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=True)
    assert ended.stderr == "work\nended\n"


def test_a_graceful_command_has_its_time_and_ends_with_the_signals_code():
    process, _ = start(GRACEFUL, grace=30.0)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 143 and out == "paused\nfarewell\n"


def test_the_grace_has_an_end():
    process, _ = start(STUBBORN, grace=1.0)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_a_second_signal_ends_the_grace():
    process, _ = start(STUBBORN, grace=60.0)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130


def test_what_the_process_was_started_deaf_to_stays_unheard():
    process, _ = start(ASLEEP, prepare=deaf)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 143
