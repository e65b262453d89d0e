"""Which device a unit's work runs on: units side by side hold one each of those that ``run.devices`` names.

A unit is given a study whose models are on its device, so that whatever it samples, trains, finds or edits follows.
What hashes are of, the study's own settings, says at most which kind of device that is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.config import StudyConfig
    from study.stage import Stage
    from study.study import Study
    from vision.settings import VisionSettings


def kind_of(device: str) -> str:
    """What torch calls a device without its number: cpu, cuda."""
    return device.partition(":")[0]


class Slots:
    """The devices of a process, each held by as many units at once as it was named times."""

    def __init__(self, devices: tuple[str, ...]) -> None:
        self._free = list(devices)
        self._changed = threading.Condition()

    @contextmanager
    def held(self) -> Iterator[str]:
        """A device, waited for and held until the block ends. The latest that was freed comes first: it is warm."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._free))
            device = self._free.pop(0)
        try:
            yield device
        finally:
            with self._changed:
                self._free.insert(0, device)
                self._changed.notify()


_slots: dict[tuple[str, ...], Slots] = {}
_lock = threading.Lock()


def _slots_of(devices: tuple[str, ...]) -> Slots:
    with _lock:
        return _slots.setdefault(devices, Slots(devices))


def where_it_belongs(study: Study, stage: Stage) -> AbstractContextManager[Study]:
    """The study as a unit of a stage is to have it: on a device, or on processors, which are not waited for."""
    return nullcontext(_moved(study, "cpu")) if stage.on_cpu else on_a_device(study)


@contextmanager
def on_a_device(study: Study) -> Iterator[Study]:
    """The study on a device of ``run.devices`` that is this unit's until the block ends; as it is if none is named."""
    devices = own_devices(study.config.run.devices, _worker_name())
    if not devices:
        yield study
        return
    with _slots_of(devices).held() as device, _current(device):
        yield _moved(study, device)


def _moved(study: Study, device: str) -> Study:
    return replace(study, config=placed(study.config, device), recorded=study.identity)


def placed(config: StudyConfig, device: str) -> StudyConfig:
    """The configuration with the diffusion model, the SAEs and the vision models on a device."""
    model = config.model.model_copy(update={"device": device})
    return config.model_copy(update={"model": model, "vision": vision_on(config.vision, device)})


def vision_on(vision: VisionSettings, device: str) -> VisionSettings:
    """The settings with their models on a device; a backend without one stays as it is."""
    if vision.transformers is None:
        return vision
    given = vision.transformers.model_copy(update={"device": device})
    return vision.model_copy(update={"transformers": given})


def own_devices(devices: tuple[str, ...], worker: Any) -> tuple[str, ...]:
    """Those of this process: all, or the one of a worker of a local Dask cluster, whose name is its number."""
    if not devices or worker is None:
        return devices
    return (devices[int(worker) % len(devices)],)


def _worker_name() -> Any:
    """Of the Dask worker that runs the present task; None elsewhere."""
    if "distributed" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker().name
    except ValueError:
        return None


def _current(device: str) -> AbstractContextManager[Any]:
    """What has this thread take a GPU for CUDA's present one, which a plain 'cuda' means."""
    if kind_of(device) != "cuda":
        return nullcontext()
    import torch

    return torch.cuda.device(device)
