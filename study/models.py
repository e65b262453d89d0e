"""The heavy models of a process, each loaded once: the diffusion model, lent to one thread at a time, and the backend.

What loads a model imports its libraries itself: whether anything is left to do is asked without them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from diffusion.settings import ModelSettings
from study.study import Study

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
        for other in set(_idle) - {settings}:
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


def release_models() -> None:
    """Give up the diffusion models that nobody uses: training and labelling need their memory."""
    with _idle_lock:
        _idle.clear()


_backend_lock = threading.Lock()


@functools.lru_cache(maxsize=1)
def _backend(settings: Any) -> Backend:
    from vision.backend import load_backend

    return load_backend(settings)


def backend_of(study: Study) -> Backend:
    """Tagger, detector, segmenter, judge and second opinion, loaded once per process."""
    with _backend_lock:  # two threads that load at once would load twice, and transformers' loading stands no company
        return _backend(study.config.vision)


def measured_shapes(study: Study) -> dict[str, tuple[int, int, int]]:
    """(rows, columns, channels) of each block's residual update, asked of the model itself, which is loaded for it."""
    from diffusion.model import block_shapes

    with borrowed_model(study) as model:
        return block_shapes(model, study.config.sites.blocks, study.config.sampling)
