"""How many threads one numerical operation takes: the last bits of sums depend on it, so it belongs to a study.

``study.yaml`` keeps the number that the study was begun with. A later run takes it wherever its units are worked on, in
threads of its own or in a Dask worker, and is refused under another number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

from study.config import StudyConfig
from study.errors import StudyError

THREADS = "torch_threads"  # in study.yaml
P = ParamSpec("P")
R = TypeVar("R")


def recorded_threads(known: dict[str, Any]) -> int | None:
    """The number that a study was begun with; of the first format, the one its configuration named, if it did."""
    named = (known["config"].get("run") or {}).get("torch_threads")
    threads = known.get(THREADS, named)
    return threads if isinstance(threads, int) else None


def with_recorded_threads(root: object, config: StudyConfig, known: dict[str, Any]) -> StudyConfig:
    """The configuration with the study's number, which an empty ``run.torch_threads`` stands for.

    Raises ``StudyError`` if it names another.
    """
    recorded, asked = recorded_threads(known), config.run.torch_threads
    if recorded is None or asked == recorded:
        return config
    if asked is not None:
        raise StudyError(
            f"{root} was begun with {recorded} threads an operation, on which the last bits of results depend, and "
            f"run.torch_threads is {asked}: give --set run.torch_threads={recorded}"
        )
    return _with_threads(config, recorded)


def with_own_threads(config: StudyConfig) -> StudyConfig:
    """The configuration with torch's default where ``run.torch_threads`` is empty: a unit's share of all cores."""
    if config.run.torch_threads is not None:
        return config
    import torch

    return _with_threads(config, max(1, torch.get_num_threads() // config.run.at_once))


def _with_threads(config: StudyConfig, threads: int) -> StudyConfig:
    return config.model_copy(update={"run": config.run.model_copy(update={"torch_threads": threads})})


def limit_threads(threads: int | None) -> None:
    """Hold torch, numpy's BLAS and OpenMP in this process to a number of threads from here on; None changes nothing."""
    if threads is None:
        return
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(threads)
    threadpool_limits(limits=threads)


@contextmanager
def held_to(threads: int | None) -> Iterator[None]:
    """Hold torch and numpy to a number of threads inside the block alone: the process is somebody else's."""
    if threads is None:
        yield
        return
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def limited(work: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A unit's work on a ``Study``, under the study's number of threads wherever it is done."""

    @functools.wraps(work)
    def under_the_limit(study: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        limit_threads(study.config.run.torch_threads)
        return work(study, *args, **kwargs)

    return under_the_limit


def cpu_capability() -> str:
    """Which instructions torch's kernels use on this machine, as in AVX2: other ones may give other last bits."""
    import torch

    return str(torch.backends.cpu.get_cpu_capability())
