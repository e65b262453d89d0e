"""About how long a study will take on this machine: a piece of each kind of work is done and timed.

The pieces are those of the study itself: its model samples a batch of its captions' length, its backend annotates the
images, its SAEs make training steps and encode. Counts come from ``study.outlook``. It is an estimate: labels found in
the images, shared steps of edits and a machine's other work move it by half.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from diffusion.model import DiffusionModel, Facts, load_model
from diffusion.sampling import sample
from sae.members import Member, Stack, members_of, shared_members
from sae.model import SAE
from sae.step import TrainState, train_step
from study.config import StudyConfig
from study.outlook import cores, edits_of, kept_images, trial_edits_of
from study.slots import placed
from study.threads import limit_threads
from study.units import SEGMENTED_SPLITS
from vision.backend import load_backend
from vision.types import Backend

T = TypeVar("T")
CAPTION = "a house and a tree"
CONTROLS = 5  # encoders that labelling passes the dictionary split through, besides the trained one and sae.controls
FEW, MORE = 2, 4  # steps of the two samples whose difference is the cost of a step


@dataclass(frozen=True)
class Pace:
    """Seconds of each stage, one unit after another; ``at_once`` units run beside each other."""

    collect: float
    train: float
    label: float
    intervene: float
    at_once: float

    @property
    def total(self) -> float:
        """Seconds of the whole study."""
        return (self.collect + self.train + self.label + self.intervene) / self.at_once


def measure_pace(config: StudyConfig, facts: Facts) -> Pace:
    """Load the models, time a piece of each kind of work, and multiply. Raises what loading raises."""
    limit_threads(config.run.torch_threads)
    config = placed(config, config.run.devices[0]) if config.run.devices else config
    model, backend = load_model(config.model), load_backend(config.vision)
    step, rest, images = _sampling(config, model)
    an_image = config.sampling.steps * step + rest
    kept, prompts = kept_images(config), sum(config.prompts.sizes.values())
    segmented = sum(config.prompts.sizes[split] for split in SEGMENTED_SPLITS)
    return Pace(
        collect=prompts * config.sampling.steps * step + kept * rest,
        train=_training(config, facts, str(model.device)),
        label=segmented * _annotating(backend, images) + _encoding(config, facts, str(model.device)),
        intervene=(edits_of(config) + trial_edits_of(config)) * an_image,
        at_once=_at_once(config, model),
    )


def _at_once(config: StudyConfig, model: DiffusionModel) -> float:
    """Units of work that run beside each other without waiting for a core; on GPUs as many as there are of these."""
    if model.device.type != "cpu":
        return float(len(set(config.run.devices)) or 1)
    threads = config.run.torch_threads or max(1, cores() // config.run.at_once)
    return max(1.0, min(config.run.at_once, cores() / threads))


def _sampling(config: StudyConfig, model: DiffusionModel) -> tuple[float, float, list[np.ndarray]]:
    """Seconds of an image's step and of the rest of an image, and the images of a batch."""
    batch = config.sampling.batch_size
    captions, seeds = [CAPTION] * batch, list(range(batch))

    def sampled(steps: int) -> np.ndarray:
        return sample(model, captions, seeds, config.sampling.model_copy(update={"steps": steps})).images

    sampled(FEW)  # the first is slower than any other
    few, _ = _timed(lambda: sampled(FEW))
    more, images = _timed(lambda: sampled(MORE))
    step = max(more - few, 0.0) / (MORE - FEW) / batch
    return step, max(few / batch - FEW * step, 0.0), list(images)


def _annotating(backend: Backend, images: list[np.ndarray]) -> float:
    """Seconds an image of tagger, detector, segmenter and second opinion."""

    def annotated() -> None:
        boxes = backend.detector.detect(images, backend.tagger.tag(images, [CAPTION] * len(images)))
        segments = backend.segmenter.segment(images, boxes)
        if backend.opinion:
            backend.opinion.confirm(images, segments)

    annotated()
    return _timed(annotated)[0] / len(images)


def _training(config: StudyConfig, facts: Facts, device: str) -> float:
    """Seconds of all steps of all SAEs: one step of each block's stack is timed."""
    sae, seconds = config.sae, 0.0
    sites = len(config.sites.times) * len(config.sites.conditionings)
    for rows, columns, channels in facts.shapes.values():
        steps = sae.steps(config.prompts.sizes["train"] * rows * columns // sae.batch_size)
        members = members_of(sae, channels, config.seed)
        by_width = {n: [m for m in members if m.n == n] for n in {member.n for member in members}}
        seconds += sites * steps * sum(_step(config, channels, group, device) for group in by_width.values())
        if sae.across_time:
            shared = shared_members(sae, channels, config.seed)
            seconds += sites * steps * _step(config, channels, shared, device)
    return seconds


def _step(config: StudyConfig, channels: int, members: list[Member], device: str) -> float:
    state = TrainState(Stack(channels, members, device), config.sae)
    x_ND = torch.randn(config.sae.batch_size, channels).to(device)

    def step() -> float:
        return float(train_step(state, x_ND, config.sae, config.sae.lr).fvu.sum())  # which waits for the device

    step()
    return _timed(step)[0]


def _encoding(config: StudyConfig, facts: Facts, device: str) -> float:
    """Seconds of the passes over the dictionary split: every dictionary and its controls encode every image."""
    seconds, images = 0.0, config.prompts.sizes["dictionary"]
    sites = len(config.sites.times) * len(config.sites.conditionings)
    for rows, columns, channels in facts.shapes.values():
        for k in config.sae.k:
            sae = Stack(channels, [Member(k, config.sae.expansion[0] * channels, 0)], device).member(0)
            x_ND = torch.randn(rows * columns, channels).to(device)
            one = _timed(partial(_encoded, sae, x_ND))[0]
            seconds += sites * images * one * (1 + CONTROLS + len(config.sae.controls))
    return seconds


def _encoded(sae: SAE, x_ND: torch.Tensor) -> float:
    return float(sae.encode(x_ND)[0].sum())  # which waits for the device


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
