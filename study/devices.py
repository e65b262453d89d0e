"""Which device a site's work runs on: one policy for training, encoding, matching and scoring.

A unit that holds a device of ``run.devices`` (``study/slots.py``) has that as its ``model.device``.
"""

from __future__ import annotations

import torch

from diffusion.device import resolve_device
from storage.site import Site
from study.config import StudyConfig
from study.study import Study


def refuse_absent(config: StudyConfig) -> None:
    """Raise ``DiffusionError`` for a device of ``run.devices`` that this machine does not have."""
    for name in dict.fromkeys(config.run.devices):
        resolve_device(name, "run.devices", auto=False)


def device_of(study: Study, site: Site) -> str:
    """``model.device``; for 'auto' the GPU if there is one, and with several, sites take turns.

    Raises ``DiffusionError`` for a device that this machine does not have.
    """
    if study.config.model.device != "auto":
        return str(resolve_device(study.config.model.device))
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{study.config.sites_list().index(site) % torch.cuda.device_count()}"
