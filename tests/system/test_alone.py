"""A run without a network: it asks for nobody, listens on loopback alone, and shows no password to anybody."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT
from tests.system import alone
from tests.system.conftest import SMALL, concepts, environment, given

pytestmark = pytest.mark.system
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")
LOOPBACK = ("0100007F", "00000000000000000000000001000000")  # as the kernel writes 127.0.0.1 and ::1
# What is the user's alone; the parts of it are looked for, as it may be written in another form.
SECRETS = {"HF_TOKEN": "hf_nobodyshallseethis0123456789", "PASSWORD": "operator:correct-horse-battery-staple"}
ENDED = ("intervene", "effects", "draw", "figures")


def refusal() -> str | None:
    """Why this machine cannot make a network namespace, or None."""
    if shutil.which("unshare") is None:
        return "there is no `unshare` here, which makes a network namespace"
    probe = "from tests.system import alone; alone.raise_loopback(); alone.try_elsewhere(); print(alone.sent_away())"
    done = subprocess.run([*NAMESPACE, sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        return f"the kernel forbids a network namespace: {done.stderr.strip().splitlines()[-1]}"
    return None


@pytest.fixture(scope="module")
def seen(small_study, new_home, tmp_path_factory):
    """What was seen of a run that edits, judges and draws, with a server of its own that wants a password."""
    if why := refusal():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("alone")
    root, home = shutil.copytree(small_study, folder / "study"), new_home()
    for stage in ENDED:
        shutil.rmtree(root / "done" / stage)
    variables = environment(home) | {
        "HF_TOKEN": SECRETS["HF_TOKEN"],
        "PREFECT_SERVER_API_AUTH_STRING": SECRETS["PASSWORD"],
    }
    tests_own = ("HF_HUB_OFFLINE", "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED", "PREFECT_LOGGING_LEVEL")
    for name in tests_own:  # which a user need not have set
        variables.pop(name, None)
    command = concepts("run", "configs/tiny.yaml", "--root", str(root), "--verbose", *given(*SMALL))
    script = [*NAMESPACE, sys.executable, "-P", alone.__file__, str(folder / "report"), *command]
    done = subprocess.run(script, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert all((root / "done" / stage).is_dir() for stage in ENDED)
    report = json.loads((folder / "report").read_text())
    return {**report, "said": done.stdout + done.stderr, "root": root, "home": home}


@pytest.mark.slow
def test_a_run_asks_for_nobody_outside_this_machine(seen):
    assert seen["sent"] == {"without a route": 0, "datagrams": 0}
    # And had it asked, that would have been counted.
    assert seen["counted"]["without a route"] >= len(alone.ELSEWHERE)


def test_a_run_listens_on_loopback_alone(seen):
    found = {address.partition(":")[0] for address in seen["listening"]}
    assert found and found <= set(LOOPBACK)


def test_a_password_and_a_token_are_in_nothing_that_a_run_leaves_or_shows(seen):
    parts = [part.encode() for secret in SECRETS.values() for part in secret.split(":") if part != "operator"]
    files = [path for folder in (seen["root"], seen["home"]) for path in Path(folder).rglob("*") if path.is_file()]
    assert [path for path in files if any(part in path.read_bytes() for part in parts)] == []
    texts = [seen["said"], *seen["shown"]]
    assert [text for text in texts if any(part.decode() in text for part in parts)] == []
    # They were looked for where a run is told of: its log and its artifacts are in the server's database.
    with sqlite3.connect(f"file:{seen['home']}/prefect.db?mode=ro", uri=True) as database:
        for table in ("flow_run", "log", "artifact"):
            assert database.execute(f"select count(*) from {table}").fetchone()[0] > 0, table
    assert any("flows.cli" in line for line in seen["shown"]) and any("api.py" in line for line in seen["shown"])
