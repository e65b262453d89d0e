"""The Prefect server of a command that has none: on loopback, and gone when the command is, however it ends.

Prefect would start one by itself, but in every process of its own (each Dask worker), would leave it behind when the
run is killed, and would let Ctrl-C end it before the run, which then waits for it in vain. The server is a process
(``flows/api.py``); the socket that it listens on stays ours, so that one that dies is replaced on the same address, and
those who call meanwhile wait for it instead of being refused.
"""

from __future__ import annotations

import collections
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import httpx
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_UI_URL,
    get_current_settings,
    temporary_settings,
)

from flows.environment import check_api
from storage.errors import AtlasError
from storage.text import without_secrets
from study.errors import StudyError
from tasks.progress import seldom_told

T = TypeVar("T")
START_SECONDS, STOP_SECONDS = 120, 10
RUNS_AGAIN, RETURN_SECONDS = 3, 300  # of a flow whose server was gone
AGAIN = "start it and run the same command again; what was finished is kept"
FLUSH_SECONDS = 10.0  # for what Prefect still has to tell a server of our own, before that ends
REPLACEMENTS = 5  # of a server that dies: more often, and something is wrong with it
RETENTION = "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"  # of runs, in a database that lasts
RETENTION_SECONDS = "7776000"  # 90 days
API = Path(__file__).with_name("api.py")
PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"
# Nothing leaves the machine, and no page of another site may talk to the server from a browser. ``flows/api.py`` brings
# the database's schema up to date before it makes the server, which would look a second time.
QUIET = {
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "DO_NOT_TRACK": "1",
}

# Of a server that lives as long as one run: it schedules nothing, so an automation that it heeded would start a flow in
# some server's time to come; and what describes blocks is registered by the next server that has pages to show them, so
# that packages of blocks need not be imported to see whether they are others than last time. States of task runs are
# written down for many at a time, as events are: Prefect's own default is a transaction for each of them. And nobody
# looks on, for whom events and logs would be passed along.
ALONE = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",  # or what has come in its flush interval, 5 s
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "100",
    "PREFECT_SERVER_EVENTS_STREAM_OUT_ENABLED": "false",
    "PREFECT_SERVER_LOGS_STREAM_OUT_ENABLED": "false",
}

_without_ui: set[str] = set()  # APIs of our own servers that serve no pages


@contextmanager
def prefect_server(ui_port: int | None = None, meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Yield the URL of the configured server's API, or of a server of our own while the context is open.

    With ``ui_port`` our own has the UI and makes scheduled runs, and listens there (0: on any free port). ``meanwhile``
    is called before, while our own comes up. Raises ``StudyError`` if it does not.
    """
    if url := PREFECT_API_URL.value():  # ``flows.environment`` has asked it
        meanwhile()
        yield url
        return
    with own_server(ui_port, meanwhile) as url:
        told = {PREFECT_API_URL: url, **_password(), **_no_tokens()}
        # Without the UI's services nobody looks for runs that fall silent, and to end its heartbeats takes each flow a
        # second.
        unseen = ui_port is None
        silent: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if unseen else {}
        if unseen:
            _without_ui.add(url)
        variables = {setting.name: str(value) for setting, value in told.items()}
        with temporary_settings(told | silent), _variables(variables), seldom_told() if unseen else nullcontext():
            try:
                check_api(url)  # certificates and credentials that are set must not keep us from our own
                yield url
            finally:
                _flush()


def _password() -> dict[Any, str]:
    """What the clients of a server of our own have to send, if servers of this machine want a password."""
    password = get_current_settings().server.api.auth_string
    return {PREFECT_API_AUTH_STRING: password.get_secret_value()} if password else {}


def _no_tokens() -> dict[Any, bool]:
    """What spares each client the question for a token against forged requests, of servers that ask for none."""
    asked = get_current_settings().server.api.csrf_protection_enabled
    return {} if asked else {PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False}


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Have environment variables while the context is open, for processes that a run starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def has_ui() -> bool:
    """Whether somebody can look at what the server in use keeps, while a run goes on."""
    return PREFECT_API_URL.value() not in _without_ui


def ui_url() -> str | None:
    """Where the UI of the server in use is, or None where it has none."""
    return PREFECT_UI_URL.value() if has_ui() else None


def _flush() -> None:
    """Have the threads that send this process's events and logs end, while the server is there to receive them.

    Left to themselves they outlive it: they try it again for minutes an event, the end of the process waits for them,
    and the events of the process's next flow, which has another server, queue up behind.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=FLUSH_SECONDS)


@contextmanager
def own_server(ui_port: int | None = None, meanwhile: Callable[[], None] = lambda: None) -> Iterator[str]:
    """Yield the URL of the API of a server that lives while the context is open. Raises ``StudyError``.

    ``meanwhile`` is called while it comes up: imports, that take as long.
    """
    listener = _listen(ui_port or 0)
    port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    server = _Server(listener, ui_port is not None, port)
    try:
        meanwhile()
        server.wait_until_healthy(url)
        threading.Thread(target=server.keep_alive, name="prefect-server", daemon=True).start()
        yield url
    finally:
        server.stop()
        listener.close()


def run_server(port: int) -> None:
    """Keep a server with UI and schedules on loopback until interrupted. Raises ``StudyError`` if there is none."""
    with own_server(ui_port=port) as url:
        page = url.removesuffix("/api")
        print(
            f"Prefect's UI: {page}\nfor the commands that shall use this server: export PREFECT_API_URL={url}",
            flush=True,
        )
        threading.Event().wait()


def _listen(port: int) -> socket.socket:
    """A listening socket on loopback; 0 takes any free port."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if port:
            raise StudyError(
                f"port {port} of this machine is taken ({error.strerror}): if a Prefect server has it, set "
                f"PREFECT_API_URL=http://127.0.0.1:{port}/api, else name another with --port (0: any that is free)"
            ) from error
        raise StudyError(
            f"no port of this machine is free for a Prefect server ({error.strerror}): end what holds them, or set "
            "PREFECT_API_URL to a server that runs"
        ) from error
    return listener


class _Server:
    """The server's process, its successors, and what the last one said."""

    def __init__(self, listener: socket.socket, ui: bool, port: int) -> None:
        self._listener, self._ui, self._port = listener, ui, port
        self._stopping = threading.Event()
        self._lines: collections.deque[str] = collections.deque(maxlen=20)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        # The pipe is the command's lifeline: the system closes it also after kill -9. The session keeps Ctrl-C away.
        process = subprocess.Popen(
            [sys.executable, "-P", str(API), str(descriptor), *(["--ui"] if self._ui else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=(descriptor,),
            env=self._environment(),
        )
        threading.Thread(target=self._hear, args=(process,), daemon=True).start()
        return process

    def _environment(self) -> dict[str, str]:
        ui = _ui_variables(self._port) if self._ui else ALONE
        # An empty password would not be none: Prefect would turn everybody away.
        return {name: value for name, value in os.environ.items() if value or name != PASSWORD} | QUIET | ui

    def _hear(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            self._lines.append(line.decode("utf-8", "replace").strip())

    def wait_until_healthy(self, url: str) -> None:
        """Return when the server answers. Raises ``StudyError`` with what it said if it ends or is too slow."""
        end = time.monotonic() + START_SECONDS
        with httpx.Client(trust_env=False, timeout=2.0) as client:  # no proxy leads to loopback
            while self._process.poll() is None and time.monotonic() < end:
                try:
                    if client.get(f"{url}/health").is_success:
                        return
                except httpx.HTTPError:
                    pass
                time.sleep(0.05)
        time.sleep(0.1)  # for its last line
        raise StudyError(_why(list(self._lines), self._process.poll()))

    def keep_alive(self) -> None:
        """Replace the server when it dies, while the context is open."""
        for _ in range(REPLACEMENTS):
            self._process.wait()
            if self._stopping.is_set():
                return
            self._process = self._start()

    def stop(self) -> None:
        """End the server, and wait for its end."""
        self._stopping.set()
        process = self._process
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _ui_variables(port: int) -> dict[str, str]:
    """What makes the UI talk to this server on its port, from a folder that can be written, and to nobody else."""
    return {
        "PREFECT_UI_ENABLED": "1",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(get_current_settings().home / "ui"),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        RETENTION: os.environ.get(RETENTION, RETENTION_SECONDS),
    }


def _why(lines: list[str], code: int | None) -> str:
    """One sentence: why the server did not come up, and what to do."""
    home = get_current_settings().home
    said = without_secrets(next((line for line in reversed(lines) if line), "it said nothing"))
    if "No such revision" in said:  # of the database's schema
        return (
            f"Prefect's database below {home} was made by a newer version of Prefect: set PREFECT_HOME to another "
            "folder, or upgrade Prefect"
        )
    end = f"within {START_SECONDS} s" if code is None else f"and ended with code {code}"
    return (
        f"a Prefect server of this command's own did not come up, {end} ({said}): set PREFECT_HOME to another folder, "
        "or PREFECT_API_URL to a server that runs"
    )


def though_the_api_goes(run: Callable[[], T]) -> T:
    """Run a flow, and run it again when it broke off because the server was gone for longer than clients try.

    What it had finished is kept, so it goes on where it was. Raises ``StudyError`` when the server does not come back.
    """
    for left in reversed(range(RUNS_AGAIN + 1)):
        try:
            return run()
        except Exception as error:
            if isinstance(error, AtlasError) or not _api_was_gone(error):
                raise
            if not left:
                raise StudyError(f"the Prefect server was lost {RUNS_AGAIN + 1} times: {AGAIN}") from error
            _wait_for_return()
    raise AssertionError("a flow returns or raises")


def _api_was_gone(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, httpx.TransportError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _wait_for_return() -> None:
    url = str(PREFECT_API_URL.value())
    end = time.monotonic() + RETURN_SECONDS
    while True:
        try:
            return check_api(url)
        except StudyError as error:
            if time.monotonic() > end:
                raise StudyError(f"the Prefect server {url} went away and did not come back: {AGAIN}") from error
        time.sleep(2.0)
