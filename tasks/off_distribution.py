"""How far off a site's own distribution an edit drives the activations, where it is made and further down the U-Net.

Every position's residual update has a Mahalanobis distance in the statistics of the site that serves the step
(``concepts/distribution.py``), fitted on the train split. What is reported is the mean over positions and steps of the
window, as a multiple of the unedited run's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concepts.distribution import Distribution
from diffusion.device import resolve_device
from diffusion.edits import Watch
from diffusion.model import running_order
from storage.site import Site
from study.study import Study
from tasks.editor import Recipe, served
from tasks.fits import OncePerSite

distribution_of = OncePerSite(Distribution.fit)  # of the site's training vectors


@dataclass(frozen=True)
class Gauge:
    """A site, looked at in the steps (t_low, t_high] that it serves; ``edited``: whether the edit is made there."""

    module: str
    half: str
    t_low: float
    t_high: float
    edited: bool
    distribution: Distribution


def gauges_of(study: Study, recipe: Recipe) -> list[Gauge]:
    """The edited sites, and those of the study's other blocks that come after the first of them in the U-Net."""
    return gauges_over(study, recipe.blocks, recipe.halves, (recipe.t_low, recipe.t_high), recipe.times)


def gauges_over(
    study: Study, edited: Sequence[str], halves: Sequence[str], window: tuple[float, float], times: Sequence[float]
) -> list[Gauge]:
    """Those of an edit of some blocks in a window (t_low, t_high], which the sites at ``times`` serve.

    Raises ``AtlasError`` where the study's activations are not there.
    """
    blocks = study.config.sites.blocks
    first = min(running_order(blocks[block]) for block in edited)
    downstream = [b for b in blocks if b not in edited and running_order(blocks[b]) > first]
    device = resolve_device(study.config.model.device)

    def gauge(block: str, half: str, low: float, high: float, time: float) -> Gauge:
        usual = distribution_of(study.at(Site(block, time, half))).to(device)
        return Gauge(blocks[block], half, low, high, block in edited, usual)

    return [
        gauge(block, half, *part)
        for block in (*edited, *downstream)
        for half in halves
        for part in served(*window, times)
    ]


class Readings:
    """What the gauges read in one run of some cases."""

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        self.gauges = gauges
        self._batches: list[tuple[int, list[list[Tensor]]]] = []  # images; of a gauge, steps [images]

    def watches(self, images: int) -> list[Watch]:
        """For the next batch of the run, of so many images."""
        taken: list[list[Tensor]] = [[] for _ in self.gauges]
        self._batches.append((images, taken))
        return [_watch(gauge, steps) for gauge, steps in zip(self.gauges, taken, strict=True)]

    def distances(self) -> np.ndarray:
        """float64 [gauges, cases]: means over positions and the window's steps; NaN where there is no step."""
        batches = [[_mean(steps, images) for steps in taken] for images, taken in self._batches]
        return np.concatenate([np.array(batch).reshape(len(self.gauges), -1) for batch in batches], axis=1)

    def beside(self, usual: Readings) -> dict[str, list[float | None]]:
        """``off_distribution`` and ``off_downstream`` of every case, given what the unedited run reads."""
        ratios_GC = self.distances() / usual.distances()
        edited_G = np.array([gauge.edited for gauge in self.gauges])
        return {
            "off_distribution": _means_over_gauges(ratios_GC[edited_G]),
            "off_downstream": _means_over_gauges(ratios_GC[~edited_G]),
        }


def _watch(gauge: Gauge, steps: list[Tensor]) -> Watch:
    def see(delta_BHWD: Tensor, _t: float) -> None:
        steps.append(gauge.distribution.distances(delta_BHWD).mean((1, 2)))

    return Watch(gauge.module, gauge.t_low, gauge.t_high, see, gauge.half)


def _mean(steps: list[Tensor], images: int) -> np.ndarray:
    return torch.stack(steps).double().mean(0).cpu().numpy() if steps else np.full(images, np.nan)


def _means_over_gauges(ratios_GC: np.ndarray) -> list[float | None]:
    """Over the gauges that read anything; None where none does."""
    read = ratios_GC[~np.isnan(ratios_GC).any(1)]
    return [float(ratio) for ratio in read.mean(0)] if len(read) else [None] * ratios_GC.shape[1]
