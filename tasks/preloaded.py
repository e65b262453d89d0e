"""Imported by the process that Dask's workers are forked from, and by nobody else: all that a worker needs."""

import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's to hear, also while this imports

from study.imports import import_kept, import_work  # noqa: E402
from study.stages import STAGES  # noqa: E402

import_kept("distributed", "prefect_dask", "prefect.task_engine")
import_work(STAGES.values())
signal.signal(signal.SIGINT, signal.default_int_handler)  # for workers; the process itself ignores it from here on
