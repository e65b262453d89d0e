"""The environment of a benchmark's commands: the checkout first, what was there kept, no server but the one named."""

import os
from pathlib import Path

from benchmarks.environment import REPO, environment_of
from tests.paths import ROOT


def test_the_checkout_comes_first_and_what_the_caller_had_stays(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/installed{os.pathsep}/other")
    made = environment_of(Path("/checkout"), Path("/plugin"), PREFECT_HOME="/home")
    assert made["PYTHONPATH"].split(os.pathsep) == ["/checkout", "/plugin", "/installed", "/other"]
    assert made["PREFECT_HOME"] == "/home" and made["HF_HUB_OFFLINE"] == "1"
    monkeypatch.delenv("PYTHONPATH")
    assert environment_of()["PYTHONPATH"] == str(REPO) == str(ROOT)


def test_a_command_knows_the_server_that_is_named_and_no_other(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://of-the-caller/api")
    assert "PREFECT_API_URL" not in environment_of()
    assert environment_of(url="http://named/api")["PREFECT_API_URL"] == "http://named/api"
