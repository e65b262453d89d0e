"""The axes that a training run works in: they follow from its settings and its first vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from sae.baselines import principal_directions
from sae.settings import SAESettings
from sae.source import BatchSource

AXES_VECTORS = 32_768  # twenty times as many as the paper's channels; the axes need no more precision than that gives


def axes_of(source: BatchSource, settings: SAESettings, seed: int) -> Tensor | None:
    """Principal axes float32 [D, D] (unit rows, falling variance) of the run's first vectors; None for the channels.

    Adam divides each coordinate's gradient by its own size. In the channels every coordinate mixes directions of much
    and of little variance, so the large ones set the step for all; in the principal axes each has its own. The loss,
    the norms and which SAEs there are do not know of axes: what is trained is turned back at the end.
    """
    if settings.axes == "channels":
        return None
    first, held = [], 0
    for batch in source.batches(settings.batch_size, seed, 0):
        first.append(batch)
        held += len(batch)
        if held >= AXES_VECTORS:
            break
    return principal_directions(torch.cat(first).numpy())
