"""Surroundings that cannot work: each is one sentence with its cause, within seconds, before anything is begun."""

import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows import environment
from flows.cli import main
from flows.environment import PATIENT
from study.errors import StudyError
from tests.paths import ROOT
from tests.ports import free_port

PREPARE = """
import sys, time
sys.path.append({root!r})
from flows.environment import prepare
from study.errors import StudyError
began = time.process_time()
try:
    prepare()
except StudyError as error:
    print(error)
    sys.exit(2)
"""


def prepare(folder: Path, **variables: str | None) -> subprocess.CompletedProcess:
    """What the command line does first, in ``folder`` with these variables (None: unset)."""
    home = folder / "home"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "OMP_", "SSL_"))}
    given = {**kept, "PREFECT_HOME": str(home), "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", PREPARE.format(root=str(ROOT))],
        cwd=folder,
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        text=True,
        timeout=120,
    )


VARIABLES = [
    ({"OMP_NUM_THREADS": "many"}, "OMP_NUM_THREADS is 'many', which is no number of threads"),
    ({"OMP_NUM_THREADS": "0"}, "OMP_NUM_THREADS is '0', which is no number of threads"),
    ({"HTTP_PROXY": "ftp://proxy"}, "an HTTP client cannot be made with HTTP_PROXY as set"),
    ({"ALL_PROXY": "socks5://127.0.0.1:1"}, "an HTTP client cannot be made with ALL_PROXY as set"),
    ({"SSL_CERT_FILE": "/none.pem"}, "an HTTP client cannot be made with SSL_CERT_FILE as set"),
    ({"PREFECT_HOME": "/proc/none"}, "Prefect's folder /proc/none cannot be written"),
    ({"PREFECT_HOME": "/dev/null/below/a/file"}, "Prefect's folder /dev/null/below/a/file cannot be written"),
    ({"PREFECT_CLIENT_MAX_RETRIES": "few"}, "PREFECT_CLIENT_MAX_RETRIES cannot be taken"),
    ({"PREFECT_API_URL": "http://nowhere.invalid/api"}, "no Prefect server answers us there ([Errno"),
    (
        {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_API_SSL_CERT_FILE": "/none.pem"},
        "PREFECT_API_SSL_CERT_FILE names a file that is not there",
    ),
    (
        {"PREFECT_API_URL": "https://me:hunter2@example.org/api"},
        "PREFECT_API_URL holds a password (https://***@example.org/api)",
    ),
    ({"ALL_PROXY": "ftp://me:hunter2@proxy"}, "an HTTP client cannot be made with ALL_PROXY as set"),
    ({"PREFECT_API_URL": "nonsense"}, "PREFECT_API_URL is 'nonsense', and no Prefect server answers us there"),
]


@pytest.mark.parametrize(("variables", "says"), VARIABLES, ids=lambda v: "-".join(v) if isinstance(v, dict) else None)
def test_a_variable_that_cannot_be_taken_is_one_sentence(tmp_path, variables, says):
    done = prepare(tmp_path, **variables)
    assert done.returncode == 2 and says in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("\n") == 1 and done.stderr == "" and "hunter2" not in done.stdout


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (".env", "PREFECT_API_KEY=clé\n".encode("latin-1"), ".env is not UTF-8, and Prefect reads it"),
        ("home/profiles.toml", b"active = [", "profiles.toml cannot be read"),
        ("home/profiles.toml", b'active = "x"\n[profiles.x]\nPREFECT_API_URL = 3\n', "cannot be taken"),
        ("home/profiles.toml", b'active = "x"\n[profiles.x]\nPREFECT_API_AUTH_STRING = 4711\n', "cannot be taken"),
        ("prefect.toml", b"[client", "prefect.toml cannot be read"),
        ("pyproject.toml", b"[tool.prefect", "pyproject.toml cannot be read"),
    ],
)
def test_a_file_that_prefect_reads_and_cannot_is_named(tmp_path, name, content, says):
    (tmp_path / "home").mkdir()
    (tmp_path / name).write_bytes(content)
    done = prepare(tmp_path)
    assert done.returncode == 2 and says in done.stdout, done.stdout + done.stderr
    assert "4711" not in done.stdout + done.stderr


class Answers(http.server.BaseHTTPRequestHandler):
    """A web server that is not Prefect's: a page for every path, but for /none."""

    def do_GET(self):
        self.send_response(404 if self.path.startswith("/none") else 200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html>Welcome</html>")

    def log_message(self, *_):
        pass


@pytest.fixture
def other_server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("http://127.0.0.1:{free}/api", "Connection refused"),
        ("http://127.0.0.1:{other}/none", "the answer was 404: does the address end with /api?"),
        ("http://127.0.0.1:{other}/api", "the answer was not a Prefect API's: does the address end with /api?"),
        ("https://127.0.0.1:{other}/api", "SSL"),
    ],
)
def test_a_server_that_does_not_answer_is_one_sentence(tmp_path, other_server, address, says):
    url = address.format(free=free_port(), other=other_server)
    done = prepare(tmp_path, PREFECT_API_URL=url, HTTP_PROXY="http://127.0.0.1:1", HTTPS_PROXY="http://127.0.0.1:1")
    assert done.returncode == 2 and f"PREFECT_API_URL is {url!r}" in done.stdout, done.stdout + done.stderr
    assert says in done.stdout


class Busy(Answers):
    """A Prefect server that is too busy for its first requests."""

    refused = 0

    def do_GET(self):
        Busy.refused += 1
        if Busy.refused > 2:
            body = b'"3.9.1"'
            self.send_response(200)
        else:
            body = b"{}"
            self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)


def test_a_server_that_is_too_busy_is_asked_again_for_a_while(monkeypatch):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    monkeypatch.setattr(environment, "BUSY_SECONDS", 0.0)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            with pytest.raises(StudyError, match="the answer was 503"):
                environment.check_api(url)
            monkeypatch.setattr(environment, "BUSY_SECONDS", 60.0)
            environment.check_api(url)
        server.shutdown()
    assert Busy.refused == 3


def test_no_home_at_all_is_one_sentence(tmp_path):
    script = "import pathlib\npathlib.Path.home = classmethod(lambda cls: pathlib.Path('~').expanduser())\n"
    script += "import os\nos.path.expanduser = lambda path: path\n"  # a user that the system does not know
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "PREFECT_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", script + PREPARE.format(root=str(ROOT))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2 and "HOME is not set and this user has no home folder" in done.stdout, done.stderr


def test_loopback_never_goes_through_a_proxy_and_what_was_excepted_stays(monkeypatch):
    from flows.environment import keep_loopback_off_proxies

    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    keep_loopback_off_proxies()
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost,::1"
    assert os.environ["no_proxy"] == "127.0.0.1,localhost,::1"


def test_a_command_called_from_python_leaves_the_variables_as_they_were(tmp_path, monkeypatch, capsys):
    for name in ("NO_PROXY", "PYTHONSAFEPATH", *PATIENT, "TRANSFORMERS_VERBOSITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    inside: dict[str, str] = {}
    monkeypatch.setattr("study.opening.open_existing", lambda *_: inside.update(os.environ) or sys.exit(3))
    before = dict(os.environ)
    with pytest.raises(SystemExit):
        main(["bench", str(ROOT / "configs" / "tiny.yaml"), "--root", str(tmp_path)])
    assert inside["PYTHONSAFEPATH"] == "1" and inside["TRANSFORMERS_VERBOSITY"] == "error"
    assert dict(os.environ) == before
