"""The heavy models of a process: the diffusion model, lent to one thread at a time, and the backend, loaded once each.

On each device of ``run.devices`` there are models of its own. What loads a model imports its libraries itself: whether
anything is left to do is asked without them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from diffusion.settings import ModelSettings
from study.slots import vision_on
from study.study import Study
from vision.settings import VisionSettings

if TYPE_CHECKING:
    from diffusion.model import DiffusionModel
    from vision.types import Backend

_idle: dict[ModelSettings, list[DiffusionModel]] = {}

_idle_lock = threading.Lock()


@contextmanager
def borrowed_model(study: Study) -> Iterator[DiffusionModel]:
    """A diffusion model that no other thread uses meanwhile, its blocks checked against the configuration.

    Recording and editing hang hooks on the U-Net, and its tokenizer changes state, so two threads must not share one.
    A model is loaded when all are in use: as many as tasks run at once in this process, one by default.
    """
    from diffusion.model import check_blocks, load_model

    settings = study.config.model
    with _idle_lock:
        for other in [other for other in _idle if not _but_for_device(other, settings)]:
            del _idle[other]
        ready = _idle.setdefault(settings, [])
        model = ready.pop() if ready else None
    if model is None:
        model = load_model(settings)
    try:
        check_blocks(model, study.config.sites.blocks)
        yield model
    finally:
        with _idle_lock:
            _idle.setdefault(settings, []).append(model)


def _but_for_device(one: ModelSettings, other: ModelSettings) -> bool:
    return one.model_copy(update={"device": other.device}) == other


def release_models() -> None:
    """Give up the diffusion models that nobody uses: training and labelling need their memory."""
    with _idle_lock:
        _idle.clear()


_backends: dict[VisionSettings, Backend] = {}
_backend_lock = threading.Lock()


def backend_of(study: Study) -> Backend:
    """Tagger, detector, segmenter, judge and second opinion, loaded once per process and device."""
    settings = study.config.vision
    with _backend_lock:  # two threads that load at once would load twice, and transformers' loading stands no company
        if settings not in _backends:
            from vision.backend import load_backend

            for other in [other for other in _backends if not _but_for_its_device(other, settings)]:
                del _backends[other]
            _backends[settings] = load_backend(settings)
        return _backends[settings]


def _but_for_its_device(one: VisionSettings, other: VisionSettings) -> bool:
    return other.transformers is not None and vision_on(one, other.transformers.device) == other


def measured_shapes(study: Study) -> dict[str, tuple[int, int, int]]:
    """(rows, columns, channels) of each block's residual update, asked of the model itself, which is loaded for it."""
    from diffusion.model import block_shapes

    with borrowed_model(study) as model:
        return block_shapes(model, study.config.sites.blocks, study.config.sampling)
