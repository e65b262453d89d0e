"""Where the workers of a local Dask cluster come from: they are forked from one process, which imports for all of them.

Dask starts each worker as a new Python, which imports torch, diffusers and Prefect for some seconds: each of
them, in the cluster of each command, and in the place of each that died. Here it is done once a run.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.forkserver import ensure_running

IMPORTED = "tasks.preloaded"
METHOD = "forkserver" if sys.platform == "linux" else "spawn"  # libraries of other systems may not outlive a fork


def prepare_workers() -> None:
    """Start the process that workers are forked from, unless it runs. What it imports is not waited for."""
    if METHOD == "forkserver":
        multiprocessing.get_context(METHOD).set_forkserver_preload([IMPORTED])
        with _variables(_of_workers() | _of_imports()):
            ensure_running()


def _of_workers() -> dict[str, str]:
    """What Dask sets before it starts a worker, unless it is set: threads of numerical libraries, and the hash seed."""
    import dask
    import distributed  # noqa: F401  its settings come with it

    given = dask.config.get("distributed.nanny.pre-spawn-environ")
    own = {name: os.environ.get(name, str(value)) for name, value in given.items() if value is not None}
    return {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "6640")} | own  # as ``distributed.nanny`` has it


def _of_imports() -> dict[str, str]:
    """What has it import from where this process does, and nothing from the current folder."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}


@contextmanager
def _variables(given: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
