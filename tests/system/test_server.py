"""Servers that die under a run: our own is replaced, one of somebody else's is waited for. With real processes."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_HOME,
    PREFECT_SERVER_API_AUTH_STRING,
    temporary_settings,
)

from flows.automations import install
from flows.cli import main
from flows.environment import check_api
from flows.server import API, PASSWORD, own_server, prefect_server, though_the_api_goes
from study.errors import StudyError
from tasks.patience import be_patient
from tests.paths import ROOT

pytestmark = pytest.mark.system


@pytest.fixture
def home(new_home, monkeypatch):
    folder = new_home()
    monkeypatch.setenv("PREFECT_HOME", str(folder))
    with temporary_settings({PREFECT_HOME: folder}, restore_defaults={PREFECT_API_URL}):
        yield folder


@task(cache_policy=NO_CACHE)
def unit(number: int) -> int:
    return number


def server_processes(home: Path) -> list[psutil.Process]:
    """The servers that a test of this file started; that of the other system tests is a child of this process, too."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # as is one that has ended and is not waited for yet
            if str(API) in child.cmdline() and child.environ().get("PREFECT_HOME") == str(home):
                found.append(child)
    return found


@pytest.mark.faults
def test_a_server_of_our_own_that_dies_is_replaced_and_nobody_is_refused(home):
    @flow
    def stage() -> list[int]:
        before = unit(1)
        server_processes(home)[0].send_signal(signal.SIGKILL)
        return [before, unit.submit(2).result()]

    with prefect_server() as url:
        first = server_processes(home)[0].pid
        assert stage() == [1, 2]
        assert server_processes(home)[0].pid != first
        assert httpx.get(f"{url}/health", timeout=60, trust_env=False).is_success
    assert server_processes(home) == []


@pytest.mark.faults
def test_no_thread_goes_on_telling_a_server_of_our_own_that_is_gone(home):
    """It would try again for minutes an event, and what a flow on the next server says would wait behind that."""

    @flow
    def stage() -> int:
        return unit(1)

    for _ in range(2):
        with prefect_server():
            assert stage() == 1
            sending = EventsWorker.instance()
            assert not sending._stopped
        assert sending._stopped and sending._queue.empty() and sending is not EventsWorker._instances.get(sending._key)


@contextmanager
def api_on(port: int):
    """A server on a port; the port is free again after it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    command = [sys.executable, "-P", str(API), str(listener.fileno())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=dict(os.environ))
    port = listener.getsockname()[1]
    listener.close()
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=60, trust_env=False).is_success:
                    break
            except httpx.HTTPError:
                assert process.poll() is None
                time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.faults
def test_a_flow_waits_for_a_server_that_is_away_and_for_its_first_task_too(home):
    be_patient()
    back = threading.Event()

    def bring_back(port: int) -> None:
        time.sleep(5)
        with api_on(port):
            back.wait(600)

    @flow
    def stage() -> int:
        server.__exit__(None, None, None)
        threading.Thread(target=bring_back, args=(port,), daemon=True).start()
        return unit(1)

    server = api_on(0)
    port = server.__enter__()
    settings = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", PREFECT_CLIENT_MAX_RETRIES: 7}
    with temporary_settings(settings):
        try:
            assert stage() == 1
        finally:
            back.set()


@pytest.mark.faults
def test_a_flow_is_run_again_when_the_server_comes_back_and_not_for_a_users_mistake(home):
    runs = []

    def once_cut_off() -> str:
        runs.append(1)
        if len(runs) == 1:
            raise RuntimeError("Failed to reach API") from httpx.ConnectError("refused")
        return "done"

    def mistaken() -> None:
        runs.append(1)
        raise StudyError("no such column")

    with prefect_server():
        assert though_the_api_goes(once_cut_off) == "done" and len(runs) == 2
        with pytest.raises(StudyError, match="no such column"):
            though_the_api_goes(mistaken)
    assert len(runs) == 3


def test_a_server_with_ui_talks_to_nobody_else_and_takes_the_rules_twice(home):
    with own_server(ui_port=0) as url, temporary_settings({PREFECT_API_URL: url}):
        page = url.removesuffix("/api")
        answer = httpx.get(page, headers={"Accept": "text/html"}, follow_redirects=True, trust_env=False, timeout=60)
        assert answer.status_code == 200 and "<title>Prefect" in answer.text
        assert answer.headers["content-security-policy"].endswith(
            f"connect-src 'self' {page} {page.replace('127.0.0.1', 'localhost')}"
            f" {page.replace('http', 'ws')} {page.replace('127.0.0.1', 'localhost').replace('http', 'ws')}"
        )
        assert httpx.get(f"{page}/ui-settings", trust_env=False, timeout=60).json()["api_url"] == url
        install()
        install()
        rules = httpx.post(f"{url}/automations/filter", json={}, trust_env=False, timeout=60).json()
        assert sorted(rule["name"] for rule in rules) == sorted({rule["name"] for rule in rules}) and len(rules) == 3


def test_a_server_that_wants_a_password_answers_who_sends_it_and_nobody_else(home, monkeypatch, capsys):
    monkeypatch.setenv(PASSWORD, "operator:correct-horse")
    with own_server(ui_port=0) as url, temporary_settings({PREFECT_API_URL: url}):
        (server,) = server_processes(home)
        assert "correct-horse" not in " ".join(server.cmdline())
        listening = [one.laddr.ip for one in server.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
        assert listening == ["127.0.0.1"]  # with UI and schedules, too
        assert httpx.post(f"{url}/flows/filter", json={}, trust_env=False, timeout=60).status_code == 401
        assert main(["serve", str(ROOT / "configs" / "tiny.yaml"), "--root", "nowhere"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(
            f"concepts: the Prefect server {url} wants a password (401): set PREFECT_API_AUTH_STRING"
        )
        assert said.count("\n") == 1
        refused = r"does not take the password in PREFECT_API_AUTH_STRING \(401\): set it to what"
        with temporary_settings({PREFECT_API_AUTH_STRING: "operator:wrong"}), pytest.raises(StudyError, match=refused):
            check_api(url)
        with temporary_settings({PREFECT_API_AUTH_STRING: "operator:correct-horse"}):
            check_api(url)
            install()
        rules = {"json": {}, "auth": ("operator", "correct-horse"), "trust_env": False, "timeout": 60}
        assert len(httpx.post(f"{url}/automations/filter", **rules).json()) == 3


def test_a_server_of_our_own_gets_the_password_that_servers_of_this_machine_want(home, monkeypatch):
    """Which may be set in a file of the current folder, that the server's process reads as well."""

    @flow
    def stage() -> int:
        return unit.submit(1).result()

    monkeypatch.setenv(PASSWORD, "operator:correct-horse")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "of:another-server")
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: "operator:correct-horse"}), prefect_server() as url:
        assert os.environ["PREFECT_API_AUTH_STRING"] == "operator:correct-horse"
        assert httpx.post(f"{url}/flows/filter", json={}, trust_env=False, timeout=60).status_code == 401
        assert stage() == 1
    assert os.environ["PREFECT_API_AUTH_STRING"] == "of:another-server" and "PREFECT_API_URL" not in os.environ


def test_a_runs_own_server_heeds_no_automation_and_an_empty_password_is_none(home, monkeypatch):
    monkeypatch.setenv(PASSWORD, "")
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: ""}), prefect_server() as url:
        assert httpx.post(f"{url}/flows/filter", json={}, trust_env=False, timeout=60).is_success
        settings = httpx.get(f"{url}/admin/settings", trust_env=False, timeout=60).json()["server"]
        assert not settings["services"]["triggers"]["enabled"] and not settings["register_blocks_on_start"]
        assert settings["services"]["task_run_recorder"]["enabled"]  # by which a run's tasks are seen later


def test_a_port_that_is_taken_is_one_sentence(home):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = f"port {port} of this machine is taken .* name another with --port"
        with pytest.raises(StudyError, match=said), own_server(ui_port=port):
            pass


def test_a_database_of_a_newer_prefect_is_one_sentence(home):
    import sqlite3

    with sqlite3.connect(home / "prefect.db") as database:
        database.execute("update alembic_version set version_num = 'of-the-future'")
    database.close()
    said = "was made by a newer version of Prefect: set PREFECT_HOME to another folder"
    with pytest.raises(StudyError, match=said), own_server():
        pass


def test_a_database_that_is_none_is_one_sentence(home):
    (home / "prefect.db").write_bytes(b"no database at all" * 1000)
    said = "did not come up, and ended with code 1 .*not a database.*: set PREFECT_HOME"
    with pytest.raises(StudyError, match=said), own_server():
        pass
