"""Batched DDIM sampling with classifier-free guidance, recording residual updates and applying edits.

One U-Net call carries both halves of guidance: rows [0, B) are ``uncond``, rows [B, 2B) are ``cond``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffusion.edits import (
    HALVES,
    Intervention,
    Step,
    Switch,
    Watch,
    attached,
    hidden_states,
    parting_steps,
    watched,
)
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel, check_blocks, encode_captions
from diffusion.noise import drawn_noise
from diffusion.schedule import set_steps
from diffusion.settings import SamplingSettings
from diffusion.times import step_of_time
from storage.site import Site


@dataclass(frozen=True)
class SitesToRecord:
    """What to record: every (block, timestep, conditioning). ``blocks`` maps short names to module paths."""

    blocks: dict[str, str]
    times: tuple[float, ...]
    conditionings: tuple[str, ...] = ("cond", "uncond")


@dataclass(frozen=True)
class Samples:
    """images uint8 [B, H, W, 3], none if not decoded; activations float16 [B, rows, columns, channels] by site."""

    images: np.ndarray
    activations: dict[Site, np.ndarray] = field(default_factory=dict)


# (captions and seeds of a batch's distinct rows) -> step -> their latents there, as nothing is done to them yet
Beginnings = dict[tuple[Any, ...], dict[int, Tensor]]


@torch.inference_mode()
def sample(
    model: DiffusionModel,
    captions: Sequence[str],
    seeds: Sequence[int],
    settings: SamplingSettings,
    record: SitesToRecord | None = None,
    edits: Sequence[Intervention] = (),
    decode: bool = True,
    beginnings: Beginnings | None = None,
    watches: Sequence[Watch] = (),
    stop: int | None = None,
) -> Samples:
    """Sample one image per (caption, seed). The noise of an image depends on its seed alone, not on its batch.

    Images of one caption and one seed are sampled once until something is done to one of them: the edits of a late
    window in many places cost little more than the window itself. Given ``beginnings``, the same batch edited again
    by the same model and settings, as with another strength, starts from what the first run left there.

    ``watches`` see the updates that the edits leave. ``stop``: the first step that is not taken any more, as where
    only updates are asked for; the image of what there is then is not decoded.

    Raises ``DiffusionError`` on a block that does not exist or a value that is not finite.
    """
    if record:
        check_blocks(model, record.blocks)
    hooked = [*edits, *watches]
    check_blocks(model, {f"edit {i}": edit.module for i, edit in enumerate(hooked) if edit.module is not None})
    steps, places = settings.steps, _places(captions, seeds)
    distinct = [places.index(place) for place in range(max(places) + 1)]
    uncond_text, cond_text = guidance_states(model, [captions[i] for i in distinct]).chunk(2)
    parting = parting_steps(edits, len(captions), steps)
    known: dict[int, Tensor] = {}
    if beginnings is not None and not record:  # what is recorded has to be passed through
        known = beginnings.setdefault((*(captions[i] for i in distinct), *(seeds[i] for i in distinct)), known)
    needed = min((*parting, *parting_steps(watches, len(captions), steps)))  # the first step that cannot be skipped
    begin = max((step for step in known if step <= needed), default=0)
    latents = known[begin] if known else initial_noise(model, [seeds[i] for i in distinct], settings)
    set_steps(model.scheduler, steps)
    at, texts = Step(begin, steps, places), Texts(model)
    recorder = Recorder(record, at)
    with attached(model.unet, edits, at, texts.of), recorder.attached(model), watched(model.unet, watches, at):
        for step, timestep in enumerate(model.scheduler.timesteps[begin:stop], begin):
            if step <= min(parting):
                known[step] = latents
            rows, of_image = _states(places, parting, step)
            latents = latents[[at.of_image[row] for row in rows]]
            at.number, at.of_image = step, of_image
            text = [states[[places[row] for row in rows]] for states in (uncond_text, cond_text)]
            text[1] = _switched(text[1], edits, at, texts)
            uncond, cond = model.unet(torch.cat([latents, latents]), timestep, torch.cat(text)).sample.chunk(2)
            guided = uncond + settings.guidance_scale * (cond - uncond)
            latents = model.scheduler.step(guided, timestep, latents, eta=0.0).prev_sample
    latents = latents[at.of_image]
    _check_finite(latents, "the final latent", model.dtype)
    decode = decode and stop is None
    return Samples(_decode(model, latents) if decode else np.zeros((0, 0, 0, 3), np.uint8), recorder.taken)


def initial_noise(model: DiffusionModel, seeds: Sequence[int], settings: SamplingSettings) -> Tensor:
    """Unit normal latents [B, 4, rows, columns], drawn on the CPU so that devices agree."""
    return drawn_noise(model.latent_shape(settings), seeds).to(model.device, model.dtype)


def _places(captions: Sequence[str], seeds: Sequence[int]) -> list[int]:
    """For every image, which of the distinct (caption, seed) it is of, numbered as they first come."""
    places: dict[tuple[str, int], int] = {}
    return [places.setdefault(row, len(places)) for row in zip(captions, seeds, strict=True)]


def _states(places: list[int], parting: list[int], step: int) -> tuple[list[int], list[int]]:
    """The images that stand for the distinct latents of a step, and for every image which of them is its own.

    An image to which something was done has its own; the others share that of their caption and seed.
    """
    order: dict[tuple[bool, int], int] = {}
    rows: list[int] = []
    of_image = []
    for image, (place, first) in enumerate(zip(places, parting, strict=True)):
        key = (True, image) if first <= step else (False, place)
        if key not in order:
            order[key] = len(rows)
            rows.append(image)
        of_image.append(order[key])
    return rows, of_image


class Texts:
    """Text states of captions, encoded once."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self._known: dict[tuple[str, ...], Tensor] = {}

    def of(self, captions: Sequence[str]) -> Tensor:
        """[n, tokens, width]."""
        key = tuple(captions)
        if key not in self._known:
            self._known[key] = encode_captions(self.model, list(captions))
        return self._known[key]


def _switched(cond_text: Tensor, edits: Sequence[Intervention], at: Step, texts: Texts) -> Tensor:
    """The captions' states of this step, where whole captions are switched."""
    for one in edits:
        if isinstance(one, Switch) and one.module is None and one.active(at.number, at.steps):
            cond_text = cond_text.clone()
            cond_text[at.rows(one.rows(len(at.of_image)))] = texts.of(one.captions)
    return cond_text


def guidance_states(model: DiffusionModel, captions: Sequence[str]) -> Tensor:
    """Text states [2B, tokens, width]: the empty prompt for ``uncond``, then the captions for ``cond``."""
    return torch.cat([encode_captions(model, [""] * len(captions)), encode_captions(model, list(captions))])


def _decode(model: DiffusionModel, latents: Tensor) -> np.ndarray:
    images = model.vae.decode(latents / model.vae.config.scaling_factor).sample.float()
    _check_finite(images, "the image", model.dtype)  # NaN would become a black pixel like any other
    images = (images / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    return (images.cpu().numpy() * 255).round().astype(np.uint8)


def _check_finite(value: Tensor, where: str, dtype: torch.dtype) -> None:
    """Raise ``NotFiniteError`` for the first row of ``value`` [B, ...] that is not; ``dtype`` tells the remedy."""
    finite = torch.isfinite(value).flatten(1).all(1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        remedy = (
            "the model gives no usable number there (an edit's strength may be too large): study another one"
            if dtype == torch.float32
            else f"model.dtype {str(dtype).removeprefix('torch.')} overflows, set it to float32"
        )
        raise NotFiniteError(f"{where} of caption {row} in the batch is not finite: {remedy}", row)


class Recorder:
    """Forward hooks that read residual updates, of every image of the batch, at the step where the sampling stands."""

    def __init__(self, record: SitesToRecord | None, at: Step) -> None:
        self.record, self.at = record, at
        self.taken: dict[Site, np.ndarray] = {}

    @contextmanager
    def attached(self, model: DiffusionModel) -> Iterator[None]:
        """Hooks are removed on the way out, also after an error. Attached after edits, they read what is edited."""
        handles = []
        try:
            for name, path in self.record.blocks.items() if self.record else ():
                handles.append(model.unet.get_submodule(path).register_forward_hook(self._hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, block: str) -> Callable[..., None]:
        record, at = self.record, self.at
        assert record is not None
        times = {step_of_time(t, at.steps): t for t in record.times}

        def hook(_module: Any, inputs: Any, output: Any) -> None:
            if at.number not in times:
                return
            delta = (hidden_states(output) - inputs[0]).permute(0, 2, 3, 1)
            for conditioning, half in zip(HALVES, delta.chunk(2), strict=True):
                if conditioning in record.conditionings:
                    site = Site(block, times[at.number], conditioning)
                    half16 = half.to(torch.float16)[at.of_image]
                    where = f"the residual update (kept as float16) at {block}, t={site.t:.2f}, {conditioning},"
                    _check_finite(half16, where, half.dtype)
                    self.taken[site] = half16.cpu().numpy()

        return hook
