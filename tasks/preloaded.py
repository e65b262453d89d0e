"""Imported by the process that Dask's workers are forked from, and by nobody else: all that a worker needs."""

import gc
import signal
from importlib import import_module

NEEDED = ("distributed", "prefect_dask", "prefect.task_engine")  # besides the work itself


def _import_all() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's to hear, also while this imports
    gc.disable()
    for name in NEEDED:
        import_module(name)
    import_module("tasks.units").import_work(import_module("study.stages").STAGES.values())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # for workers; the process itself ignores it from here on


_import_all()
