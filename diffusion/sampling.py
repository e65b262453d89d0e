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

from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel, check_blocks, encode_captions
from diffusion.schedule import set_steps
from diffusion.settings import SamplingSettings
from diffusion.times import in_window, step_of_time, time_of_step
from storage.site import Site


@dataclass(frozen=True)
class SitesToRecord:
    """What to record: every (block, timestep, conditioning). ``blocks`` maps short names to module paths."""

    blocks: dict[str, str]
    times: tuple[float, ...]
    conditionings: tuple[str, ...] = ("cond", "uncond")


@dataclass(frozen=True)
class Edit:
    """An intervention on one block's residual update, cond half only, at the steps of the window (t_low, t_high].

    ``apply(delta, t)`` gets delta float32 [B, rows, columns, channels] and returns what replaces it.
    """

    module: str
    t_low: float
    t_high: float
    apply: Callable[[Tensor, float], Tensor]

    def active(self, step: int, steps: int) -> bool:
        """Whether the edit applies at a reverse step."""
        return in_window(time_of_step(step, steps), self.t_low, self.t_high)


@dataclass(frozen=True)
class Samples:
    """images uint8 [B, H, W, 3], none if not decoded; activations float16 [B, rows, columns, channels] by site."""

    images: np.ndarray
    activations: dict[Site, np.ndarray] = field(default_factory=dict)


# (captions and seeds of a batch, the first step that an edit changes) -> its latents there
Beginnings = dict[tuple[Any, ...], Tensor]


@torch.inference_mode()
def sample(
    model: DiffusionModel,
    captions: Sequence[str],
    seeds: Sequence[int],
    settings: SamplingSettings,
    record: SitesToRecord | None = None,
    edits: Sequence[Edit] = (),
    decode: bool = True,
    beginnings: Beginnings | None = None,
) -> Samples:
    """Sample one image per (caption, seed). The noise of an image depends on its seed alone, not on its batch.

    Rows with one caption and one seed are sampled once up to the first step that an edit changes: the edits of a late
    window in many places cost little more than the window itself. Given ``beginnings``, the same batch edited again
    by the same model and settings, as with another strength, starts from what the first run left there.

    Raises ``DiffusionError`` on a block that does not exist or a value that is not finite.
    """
    if record:
        check_blocks(model, record.blocks)
    check_blocks(model, {f"edit {i}": edit.module for i, edit in enumerate(edits)})
    distinct, row_of = _distinct(captions, seeds)
    latents = initial_noise(model, [seeds[i] for i in distinct], settings)
    text = guidance_states(model, [captions[i] for i in distinct])
    scheduler = model.scheduler
    set_steps(scheduler, settings.steps)
    hooks = Hooks(record, settings.steps)
    parting = min((step for step in range(settings.steps) for e in edits if e.active(step, settings.steps)), default=0)
    known = beginnings if beginnings is not None and not record else {}  # what is recorded has to be passed through
    batch, begin = (*captions, *seeds, parting), 0
    if batch in known:
        latents, begin = known[batch], parting
    with hooks.attached(model, edits):
        for step, timestep in enumerate(scheduler.timesteps[begin:], begin):
            if step == parting:
                known[batch] = latents
                latents, text = latents[row_of], guidance_states(model, captions)
                hooks.expand(row_of)
            hooks.step = step
            uncond, cond = model.unet(torch.cat([latents, latents]), timestep, text).sample.chunk(2)
            guided = uncond + settings.guidance_scale * (cond - uncond)
            latents = scheduler.step(guided, timestep, latents, eta=0.0).prev_sample
    _check_finite(latents, "the final latent", model.dtype)
    return Samples(_decode(model, latents) if decode else np.zeros((0, 0, 0, 3), np.uint8), hooks.taken)


def initial_noise(model: DiffusionModel, seeds: Sequence[int], settings: SamplingSettings) -> Tensor:
    """Unit normal latents [B, 4, rows, columns], drawn on the CPU so that devices agree."""
    shape = model.latent_shape(settings)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(model.device, model.dtype)


def _distinct(captions: Sequence[str], seeds: Sequence[int]) -> tuple[list[int], list[int]]:
    """Rows that differ from all before them, and for every row its place among those."""
    places: dict[tuple[str, int], int] = {}
    distinct = [i for i, row in enumerate(zip(captions, seeds, strict=True)) if places.setdefault(row, i) == i]
    order = {row: place for place, row in enumerate(places)}
    return distinct, [order[row] for row in zip(captions, seeds, strict=True)]


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


class Hooks:
    """Forward hooks that read and edit residual updates; ``step`` is set by the sampling loop."""

    def __init__(self, record: SitesToRecord | None, steps: int) -> None:
        self.record, self.steps, self.step = record, steps, 0
        self.taken: dict[Site, np.ndarray] = {}

    def expand(self, row_of: list[int]) -> None:
        """What was recorded of distinct rows, for every row."""
        self.taken = {site: array[row_of] for site, array in self.taken.items()}

    @contextmanager
    def attached(self, model: DiffusionModel, edits: Sequence[Edit]) -> Iterator[None]:
        """Hooks are removed on the way out, also after an error. Edits come first: what is recorded is edited."""
        handles = []
        try:
            for edit in edits:
                hook = self._editing_hook(edit)
                handles.append(model.unet.get_submodule(edit.module).register_forward_hook(hook))
            for name, path in self.record.blocks.items() if self.record else ():
                handles.append(model.unet.get_submodule(path).register_forward_hook(self._recording_hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _recording_hook(self, block: str) -> Callable[..., None]:
        record = self.record
        assert record is not None
        times = {step_of_time(t, self.steps): t for t in record.times}

        def hook(_module: Any, inputs: Any, output: Any) -> None:
            if self.step not in times:
                return
            delta = (_hidden(output) - inputs[0]).permute(0, 2, 3, 1)
            for conditioning, half in zip(("uncond", "cond"), delta.chunk(2), strict=True):
                if conditioning in record.conditionings:
                    site = Site(block, times[self.step], conditioning)
                    half16 = half.to(torch.float16)
                    where = f"the residual update (kept as float16) at {block}, t={site.t:.2f}, {conditioning},"
                    _check_finite(half16, where, half.dtype)
                    self.taken[site] = half16.cpu().numpy()

        return hook

    def _editing_hook(self, edit: Edit) -> Callable[..., Any]:
        def hook(_module: Any, inputs: Any, output: Any) -> Any:
            if not edit.active(self.step, self.steps):
                return None
            t = time_of_step(self.step, self.steps)
            before = _hidden(output)
            uncond, cond = before.chunk(2)
            delta = (cond - inputs[0].chunk(2)[1]).float().permute(0, 2, 3, 1)
            change = (edit.apply(delta, t) - delta).permute(0, 3, 1, 2)
            # Adding the change, not rebuilding the output, keeps an edit of nothing bit-exact.
            return _with_hidden(output, torch.cat([uncond, cond + change.to(cond.dtype)]))

        return hook


def _hidden(output: Any) -> Tensor:
    """A transformer block returns a tuple or an output object, by how it was called."""
    return output[0] if isinstance(output, tuple) else output.sample


def _with_hidden(output: Any, hidden: Tensor) -> Any:
    return (hidden, *output[1:]) if isinstance(output, tuple) else type(output)(sample=hidden)
