"""Lines of a run's log, through Prefect's own logger: into the UI, and as the user wants them onto stderr.

A plain command shows progress on stderr, and its log only in the UI: ``CONCEPTS_CONSOLE=quiet``, which the command line
sets for itself and for the processes that it starts. ``run.log_format`` or ``CONCEPTS_LOG=json`` have every line of the
log on stderr as a JSON object instead.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

from study.config import StudyConfig
from study.study import Study

CONSOLE, QUIET = "CONCEPTS_CONSOLE", "quiet"
FORMAT, JSON = "CONCEPTS_LOG", "json"
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
Log = logging.Logger | logging.LoggerAdapter[Any]


def run_logger(study: Study, stage: str = "", unit: str = "") -> Log:
    """The logger of the present run; its records know the study, the stage and the unit that they are of."""
    try:
        logger: Log = get_run_logger()
    except MissingContextError:  # work that is called as a plain function
        logger = logging.getLogger("concept_atlas")
    return _Of(logger, {"study": study.config.name, "stage": stage, "unit": unit})


class _Of(logging.LoggerAdapter[Any]):
    """Adds to every record what it is of, beside what Prefect adds of the run."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def tell_the_server_alone() -> None:
    """Keep the run's log off stderr where a plain command asks for it; the server is told everything all the same."""
    if os.environ.get(CONSOLE) == QUIET:
        for name in RUN_LOGGERS:
            logging.getLogger(name).setLevel(logging.INFO)
            logging.getLogger(name).propagate = False


def asks_for_json(config: StudyConfig) -> bool:
    """Whether the settings or the environment ask for a log of JSON objects."""
    return config.run.log_format == JSON or os.environ.get(FORMAT) == JSON


def write_as_asked(config: StudyConfig) -> None:
    """Have this process write the run's log on stderr as JSON from here on, if that is asked for."""
    for name in RUN_LOGGERS if asks_for_json(config) else ():
        logger = logging.getLogger(name)
        logger.propagate = False  # else the console would say it once more
        known = [handler for handler in logger.handlers if isinstance(handler, JsonLines)]
        if known:
            known[0].study = config.name
        else:
            logger.addHandler(JsonLines(config.name))


class JsonLines(logging.Handler):
    """Writes every record to stderr as a JSON object on a line of its own."""

    def __init__(self, study: str) -> None:
        super().__init__()
        self.study = study

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Nothing is raised: a closed stderr must not end a run."""
        try:
            sys.stderr.write(json_line(record, self.study) + "\n")
            sys.stderr.flush()
        except Exception:  # as ``logging`` has it
            self.handleError(record)


def json_line(record: logging.LogRecord, study: str) -> str:
    """A record as JSON: time, level, study, stage, unit, message, and the traceback of an error.

    A record of Prefect's own is of its task run, which is named as the unit is, or of its flow run.
    """
    facts = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "study": study,
        "stage": getattr(record, "stage", "") or getattr(record, "task_name", "") or getattr(record, "flow_name", ""),
        "unit": getattr(record, "unit", "") or getattr(record, "task_run_name", ""),
        "message": record.getMessage(),
    }
    if record.exc_info and record.exc_info[0] is not None:
        facts["traceback"] = logging.Formatter().formatException(record.exc_info)
    return json.dumps(facts, ensure_ascii=False)
