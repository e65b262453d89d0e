"""Figures of a run for Prometheus, on loopback while the run lasts; off unless ``run.metrics_port`` names a port.

They are the figures of the process that runs the flow: on a cluster, units, images and bytes are all there, and the GPU
memory of its workers is not.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from storage.sizes import Sizes
from study.errors import StudyError
from study.study import Study
from tasks.progress import StageProgress, Watcher, watching

HOST = "127.0.0.1"
SAMPLING = "collect"  # the stage whose units are shards of sampled prompts
_serving: list[Metrics] = []


def refuse_taken_port(port: int | None) -> None:
    """Raise ``StudyError`` if metrics are asked for on a port that another process listens on."""
    if port is None:
        return
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((HOST, port))
        except OSError as error:
            raise _taken(port, error) from error


def _taken(port: int, error: OSError) -> StudyError:
    return StudyError(
        f"run.metrics_port: port {port} of this machine cannot be listened on ({error.strerror}): name another, or "
        "leave it empty for a run without metrics"
    )


@contextmanager
def measured(study: Study, counts: dict[str, tuple[int, int]]) -> Iterator[None]:
    """Serve a run's figures while the context is open, if a port is set; a flow within a flow adds to the outer one's.

    ``counts``: stage -> (done, all). Raises ``StudyError`` if the port is taken.
    """
    port = study.config.run.metrics_port
    if port is None or _serving:
        yield
        return
    from prometheus_client import start_http_server

    metrics = Metrics(study, counts)
    try:
        server, thread = start_http_server(port, addr=HOST, registry=metrics.registry)
    except OSError as error:
        raise _taken(port, error) from error
    _serving.append(metrics)
    try:
        with watching(metrics):
            yield
    finally:
        _serving.remove(metrics)
        server.shutdown()
        server.server_close()
        thread.join(5)


class Metrics(Watcher):
    """The figures of one run, in a registry of their own."""

    def __init__(self, study: Study, counts: dict[str, tuple[int, int]]) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge

        self.registry = CollectorRegistry()
        one, name = ["study", "stage"], study.config.name
        self._name = name
        self._done = Gauge("concepts_units_done", "Pieces of work that are done.", one, registry=self.registry)
        self._left = Gauge("concepts_units_left", "Pieces of work still to do.", one, registry=self.registry)
        self._failed = Counter("concepts_units_failed", "Pieces of work given up.", one, registry=self.registry)
        self._images = Counter("concepts_images_sampled", "Prompts sampled.", ["study"], registry=self.registry)
        self._images.labels(name)
        self.registry.register(_Looked(name, Sizes(study.root)))
        for stage, count in counts.items():
            self._failed.labels(name, stage)
            self._set(stage, *count)

    def counted(self, progress: StageProgress, made: Any) -> None:
        """Take over where the stage is, and what its sampling made."""
        self._set(progress.stage, progress.done, progress.total)
        if progress.stage == SAMPLING and isinstance(made, dict):
            self._images.labels(self._name).inc(made.get("prompts", 0))

    def failed(self, stage: str) -> None:
        """Count a failure."""
        self._failed.labels(self._name, stage).inc()

    def _set(self, stage: str, done: int, total: int) -> None:
        self._done.labels(self._name, stage).set(done)
        self._left.labels(self._name, stage).set(total - done)


class _Looked:
    """What is looked up when it is asked for: bytes on disk, memory of the GPUs that this process uses."""

    def __init__(self, study: str, sizes: Sizes) -> None:
        self._study, self._sizes = study, sizes

    def collect(self) -> Iterable[Any]:
        """Prometheus's own way to ask."""
        from prometheus_client.core import GaugeMetricFamily

        stores = GaugeMetricFamily("concepts_store_bytes", "Bytes of the study's stores.", labels=["study", "store"])
        for store, size in self._sizes.measured().items():
            stores.add_metric([self._study, store], size)
        memory = GaugeMetricFamily("concepts_gpu_memory_bytes", "Allocated by torch.", labels=["study", "device"])
        for device, size in gpu_memory().items():
            memory.add_metric([self._study, device], size)
        return [stores, memory]


def gpu_memory() -> dict[str, int]:
    """Device -> bytes that torch has allocated on it; empty before a GPU is used. Loads nothing by itself."""
    torch = sys.modules.get("torch")
    with suppress(Exception):  # of a driver that went away: a look must not fail
        if torch is not None and torch.cuda.is_initialized():
            return {f"cuda:{i}": int(torch.cuda.memory_allocated(i)) for i in range(torch.cuda.device_count())}
    return {}
