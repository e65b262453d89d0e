"""Commands in processes of their own that are forked from one which has imported what they need.

Importing torch, diffusers and Prefect takes six seconds of a processor, and the system tests start some hundred
commands. ``multiprocessing``'s fork server imports them once a pytest process; what it forks is else as ``python -m
flows.cli`` is: it has its own memory, files and signals, reads its arguments and ends with its exit code. It has the
environment variables of the server's start. What a start of Python itself does (imports in their order, ``-m``, locale,
Ctrl-C) is tested with real starts, in ``test_runners.py``, ``test_command_line.py``, ``test_nothing_to_do.py``,
``test_operator.py`` and ``test_alone.py``.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import multiprocessing
import os
import runpy
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from study.stages import STAGES
from tests.paths import ROOT

# What commands import by and by: every stage's work, and what that imports in its turn.
HEAVY = [
    "tests.system.uncollected",  # first: it spares the imports, and all that is forked, a look for garbage among them
    *dict.fromkeys(stage.work.partition(":")[0] for stage in STAGES.values()),
    *("flows.cli", "flows.whole", "flows.bench", "flows.check", "flows.server", "study.preflight", "study.inputs"),
    *("study.revise", "tasks.pages", "vision.mini", "matplotlib.backends.backend_agg", "contourpy"),
    *("prefect.flow_engine", "prefect.task_engine", "fastapi"),
]


def fork_server(variables: dict[str, str]) -> ForkServerContext:
    """Start the process that will be forked, with these environment variables. One for all of this process."""
    gone = [name for name in HEAVY if not importlib.util.find_spec(name)]  # it would be left out without a word
    assert not gone, f"{gone} are not there any more"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    own = dict(os.environ)
    os.environ.clear()
    # The path, since it imports before it is told ours; UTF-8, since a command would else start Python anew.
    os.environ.update(variables | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"})
    try:
        context.Process(target=int).start()
    finally:
        os.environ.clear()
        os.environ.update(own)
    return context


def start(context: ForkServerContext, arguments: tuple[str, ...], folder: str | Path) -> ForkServerProcess:
    """Start a command in a session of its own; what it says is in the files ``out`` and ``err`` of the folder."""
    return _started(context, _command, arguments, folder)


def start_engine(context: ForkServerContext, flow_run_id: str, folder: str | Path) -> ForkServerProcess:
    """Start ``python -m prefect.engine``, by which workers and ``serve`` execute a flow run, as ``start`` does."""
    return _started(context, _engine, (flow_run_id,), folder)


def _started(
    context: ForkServerContext, act: Callable[[tuple[str, ...]], None], given: tuple[str, ...], folder: str | Path
) -> ForkServerProcess:
    process = context.Process(target=_apart, args=(act, given, str(folder)))
    process.start()
    return process


def run(context: ForkServerContext, arguments: tuple[str, ...], timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command to its end. Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds, and kills it."""
    with tempfile.TemporaryDirectory() as folder:
        process = start(context, arguments, folder)
        process.join(timeout)
        out, err = ((Path(folder) / name).read_text("utf-8") for name in ("out", "err"))
        if process.exitcode is None:
            kill(process)
            raise subprocess.TimeoutExpired(arguments, timeout, out, err)
        return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def kill(process: ForkServerProcess) -> None:
    """``kill -9`` for a command and everything that it has started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.join()


def _apart(act: Callable[[tuple[str, ...]], None], given: tuple[str, ...], folder: str) -> None:
    """What the forked process does: as one that is started from the root of the checkout."""
    os.setsid()
    os.chdir(ROOT)
    for descriptor, path in enumerate((os.devnull, f"{folder}/out", f"{folder}/err")):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), descriptor)
    try:
        act(given)
    finally:  # as Python does at its end, where ``multiprocessing`` leaves without
        threading._shutdown()
        if "coverage" not in sys.modules:  # its hook there is the other process's; its own comes with the exit
            atexit._run_exitfuncs()


def _command(arguments: tuple[str, ...]) -> None:
    sys.argv = ["concepts", *arguments]
    from flows.cli import main

    sys.exit(main())


def _engine(given: tuple[str, ...]) -> None:
    os.environ |= {"PREFECT__FLOW_RUN_ID": given[0], "PREFECT_LOGGING_LEVEL": "INFO"}
    sys.argv = ["engine"]
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()  # as what is set before Prefect's import
    setup_logging(incremental=False)
    runpy.run_module("prefect.engine", run_name="__main__", alter_sys=True)


STUB = """
import json, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    line.sendall(json.dumps(sys.argv[1:]).encode())
    line.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(line.makefile("rb").read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def command_of_shells(context: ForkServerContext) -> Iterator[Path]:
    """Yield a folder with a program ``concepts`` for a shell: what it is asked for, a forked process does."""
    with tempfile.TemporaryDirectory() as folder:
        address, program = f"{folder}/line", Path(folder, "concepts")

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                done = run(context, tuple(json.loads(self.rfile.read())), timeout=400)
                self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode())

        program.write_text(f"#!{sys.executable} -SE\n{STUB.format(address=address)}", encoding="utf-8")
        program.chmod(0o700)
        with socketserver.UnixStreamServer(address, Answer) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield Path(folder)
            server.shutdown()
