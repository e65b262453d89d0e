"""Lines of a run's log, through Prefect's own logger: into the UI, and as the user wants them onto stderr.

A plain command shows progress on stderr, and its log only in the UI: ``CONCEPTS_CONSOLE=quiet``, which the command line
sets for itself and for the processes that it starts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import MissingContextError

from study.study import Study

CONSOLE, QUIET = "CONCEPTS_CONSOLE", "quiet"
RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
Log = logging.Logger | logging.LoggerAdapter[Any]


def run_logger(study: Study, stage: str = "", units: Collection[str] = ()) -> Log:
    """The logger of the present run; its records know the study, the stage and the units that they are of."""
    try:
        logger: Log = get_run_logger()
    except MissingContextError:  # work that is called as a plain function
        logger = logging.getLogger("concept_atlas")
    return _Of(logger, {"study": study.config.name, "stage": stage, "unit": ", ".join(units)})


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
