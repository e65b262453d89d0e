"""The run's log as JSON lines, and kept off stderr where a plain command shows progress there."""

import json
import logging
from datetime import datetime

import pytest

from study.config import load_config
from study.study import Study
from tasks import logs
from tests.paths import ROOT


@pytest.fixture
def loggers(monkeypatch):
    """Loggers of the test's own in the place of Prefect's."""
    names = ("atlas-test.flow_runs", "atlas-test.task_runs")
    monkeypatch.setattr(logs, "RUN_LOGGERS", names)
    monkeypatch.delenv(logs.FORMAT, raising=False)
    made = [logging.getLogger(name) for name in names]
    for logger in made:
        logger.setLevel(logging.INFO)
    yield made
    for logger in made:
        logger.handlers, logger.propagate = [], True


def config(*overrides):
    return load_config(ROOT / "configs" / "tiny.yaml", list(overrides))


def test_every_line_is_an_object_that_knows_what_it_is_of(loggers, capsys, tmp_path, monkeypatch):
    json_config = config("run.log_format=json")
    for _ in range(2):
        logs.write_as_asked(json_config)
    monkeypatch.setattr(logs, "get_run_logger", lambda: loggers[1])
    study = Study(str(tmp_path), json_config, "hash")
    logs.run_logger(study, "label", "label mid t=1.00 cond k=4").info("%s: %s", "label", 'a\n"b" é')
    loggers[0].warning("Finished", extra={"flow_name": "label", "flow_run_name": "label-x"})
    loggers[1].info("Finished", extra={"task_name": "tag", "task_run_name": "tag shard 1", "flow_name": "label"})
    loggers[1].error("broken", exc_info=OSError("the disk is full"))
    lines = capsys.readouterr().err.splitlines()
    said = [json.loads(line) for line in lines]
    assert "é" in lines[0] and all(
        list(one)[:6] == ["time", "level", "study", "stage", "unit", "message"] for one in said
    )
    assert all(datetime.fromisoformat(one["time"]).utcoffset().total_seconds() == 0 for one in said)
    assert [(one["level"], one["study"], one["stage"], one["unit"], one["message"]) for one in said] == [
        ("INFO", "tiny", "label", "label mid t=1.00 cond k=4", 'label: a\n"b" é'),
        ("WARNING", "tiny", "label", "", "Finished"),
        ("INFO", "tiny", "tag", "tag shard 1", "Finished"),
        ("ERROR", "tiny", "", "", "broken"),
    ]
    assert "OSError: the disk is full" in said[-1]["traceback"] and "traceback" not in said[0]


def test_text_is_prefects_own_and_the_variable_asks_as_the_setting_does(loggers, monkeypatch):
    logs.write_as_asked(config())
    assert [logger.handlers for logger in loggers] == [[], []] and not logs.asks_for_json(config())
    monkeypatch.setenv("CONCEPTS_LOG", "json")
    assert logs.asks_for_json(config())
    logs.write_as_asked(config("name=first"))
    logs.write_as_asked(config("name=second"))
    assert [[handler.study for handler in logger.handlers] for logger in loggers] == [["second"], ["second"]]
    assert not any(logger.propagate for logger in loggers)


def test_a_plain_command_keeps_the_log_off_the_console(loggers, monkeypatch):
    monkeypatch.setenv("CONCEPTS_CONSOLE", "all")
    logs.tell_the_server_alone()
    assert all(logger.propagate for logger in loggers)
    monkeypatch.setenv("CONCEPTS_CONSOLE", "quiet")
    logs.tell_the_server_alone()
    assert not any(logger.propagate for logger in loggers)


def test_without_a_run_a_line_goes_to_a_logger_of_our_own(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        logs.run_logger(Study(str(tmp_path), config(), "hash"), "tag", "tag shard 1").info("done")
    [record] = caplog.records
    assert (record.name, record.study, record.stage, record.unit) == ("concept_atlas", "tiny", "tag", "tag shard 1")
