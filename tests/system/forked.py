"""Commands in processes of their own that are forked from one which has imported what they need.

Importing torch, diffusers and Prefect takes six seconds of a processor, and the system tests start some hundred
commands. ``multiprocessing``'s fork server imports them once for all of pytest's processes, who ask the process that
has it (``serve``) at its socket. What it forks is else as ``python -m flows.cli`` is: it has its own memory, files and
signals, reads its arguments and ends with its exit code. It has the environment variables of the server's start. What a
start of Python itself does (imports in their order, ``-m``, locale, Ctrl-C) is tested with real starts, in
``test_runners.py``, ``test_command_line.py``, ``test_nothing_to_do.py``, ``test_operator.py`` and ``test_alone.py``.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import multiprocessing
import multiprocessing.connection
import os
import runpy
import select
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from study.stages import STAGES
from tests import lifeline
from tests.paths import ROOT

# What commands import by and by: every stage's work, and what that imports in its turn.
HEAVY = [
    "tests.system.uncollected",  # first: it spares the imports, and all that is forked, a look for garbage among them
    *dict.fromkeys(stage.work.partition(":")[0] for stage in STAGES.values()),
    *("flows.cli", "flows.whole", "flows.bench", "flows.check", "flows.server", "study.preflight", "study.inputs"),
    *("study.revise", "tasks.pages", "vision.mini", "matplotlib.backends.backend_agg", "contourpy"),
    *("prefect.flow_engine", "prefect.task_engine", "fastapi"),
]


def fork_server(variables: dict[str, str]) -> Path:
    """The address of the process that forks. Who asks first in a session starts it, with these environment variables.

    Only one may ask at a time.
    """
    address = lifeline.session() / "forks"
    if not address.exists():
        gone = [name for name in HEAVY if not importlib.util.find_spec(name)]  # it would be left out without a word
        assert not gone, f"{gone} are not there any more"
        code = f"from tests.system.forked import serve; serve({str(address)!r})"
        # UTF-8, since a command would else start Python anew.
        environment = variables | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        lives = lifeline.lifeline()
        process = subprocess.Popen([sys.executable, "-c", code], stdin=lives, env=environment)
        os.close(lives)
        while not address.exists():
            assert process.poll() is None, "the process that forks did not come up"
            time.sleep(0.02)
    return address


def serve(address: str) -> None:
    """Fork for who asks at this address, until standard input closes.

    What is asked is a line of JSON: the function's name, its arguments, the folder; the answer is the process's id at
    once and, when it has ended, its exit code. Both are eight bytes.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)
    one = threading.Lock()  # a process that is started looks after all that have ended, and two would read one's code

    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            name, given, folder = json.loads(self.rfile.readline())
            with one:
                process = context.Process(target=_apart, args=(ACTS[name], tuple(given), folder))
                process.start()
            self.wfile.write(CODE.pack(process.pid))
            multiprocessing.connection.wait([process.sentinel])
            with one:
                process.join()
            self.wfile.write(CODE.pack(process.exitcode))

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(f"{address}.new", Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Path(f"{address}.new").rename(address)  # who finds it is answered
        sys.stdin.read()
        server.shutdown()
    for process in multiprocessing.active_children():  # else its end would wait for theirs
        process.kill()


class Forked:
    """A process that was asked for at a fork server's address."""

    def __init__(self, address: Path, name: str, given: tuple[str, ...], folder: str | Path) -> None:
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(address))
        self._line.sendall(json.dumps([name, given, str(folder)]).encode() + b"\n")
        self._code: int | None = None
        self.pid = self._answer()

    def _answer(self) -> int:
        return int(CODE.unpack(self._line.recv(CODE.size, socket.MSG_WAITALL))[0])

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, or for ``timeout`` seconds."""
        if self._code is None and select.select([self._line], [], [], timeout)[0]:
            self._code = self._answer()
            self._line.close()

    @property
    def exitcode(self) -> int | None:
        """As ``multiprocessing``'s: minus the signal that ended it; None while it lives."""
        self.join(0)
        return self._code

    def is_alive(self) -> bool:
        return self.exitcode is None


def start(forks: Path, arguments: tuple[str, ...], folder: str | Path) -> Forked:
    """Start a command in a session of its own; what it says is in the files ``out`` and ``err`` of the folder."""
    return Forked(forks, "command", arguments, folder)


def start_engine(forks: Path, flow_run_id: str, folder: str | Path) -> Forked:
    """Start ``python -m prefect.engine``, by which workers and ``serve`` execute a flow run, as ``start`` does."""
    return Forked(forks, "engine", (flow_run_id,), folder)


def run(
    forks: Path, arguments: tuple[str, ...], timeout: float, name: str = "command"
) -> subprocess.CompletedProcess[str]:
    """Run a command, or what else ``ACTS`` names, to its end.

    Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds, and kills it.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = Forked(forks, name, arguments, folder)
        process.join(timeout)
        out, err = ((Path(folder) / name).read_text("utf-8") for name in ("out", "err"))
        if process.exitcode is None:
            kill(process)
            raise subprocess.TimeoutExpired(arguments, timeout, out, err)
        return subprocess.CompletedProcess(arguments, process.exitcode, out, err)


def kill(process: Forked) -> None:
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


def _python(given: tuple[str, ...]) -> None:
    """``python -c CODE`` or ``python -m MODULE ARGUMENT...``, to which nothing of ours is imported yet."""
    kind, what, *arguments = given
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    if kind == "-m":
        sys.argv = [what, *arguments]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        assert kind == "-c", f"{given}: what is done with this is not known"
        sys.argv = ["-c", *arguments]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


OURS = {path.name for path in ROOT.iterdir() if path.joinpath("__init__.py").exists()} - {"tests"}
ACTS = {"command": _command, "engine": _engine, "python": _python}
CODE = struct.Struct("q")

STUB = """#!{python} -SE
import json, socket, sys
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    line.sendall(json.dumps([{name!r}, sys.argv[1:]]).encode())
    line.shutdown(socket.SHUT_WR)
    code, out, err = json.loads(line.makefile("rb").read())
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@contextmanager
def commands_of_shells(forks: Path) -> Iterator[Path]:
    """Yield a folder with programs ``concepts`` and ``python`` for a shell: forked processes do what they are asked."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"{folder}/line"

        class Answer(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                name, given = json.loads(self.rfile.read())
                done = run(forks, tuple(given), 400, name)
                self.wfile.write(json.dumps([done.returncode, done.stdout, done.stderr]).encode())

        for program, name in {"concepts": "command", "python": "python"}.items():
            stub = Path(folder, program)
            stub.write_text(STUB.format(python=sys.executable, address=address, name=name), encoding="utf-8")
            stub.chmod(0o700)
        with socketserver.UnixStreamServer(address, Answer) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            yield Path(folder)
            server.shutdown()
