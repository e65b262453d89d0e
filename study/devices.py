"""Which device a site's work runs on: one policy for training, encoding, matching and scoring."""

from __future__ import annotations

import torch

from diffusion.device import resolve_device
from storage.site import Site
from study.study import Study


def device_of(study: Study, site: Site) -> str:
    """``model.device``; for 'auto' the GPU if there is one, and with several, sites take turns.

    Raises ``DiffusionError`` for a device that this machine does not have.
    """
    if study.config.model.device != "auto":
        return str(resolve_device(study.config.model.device))
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{study.config.sites_list().index(site) % torch.cuda.device_count()}"
