"""What can be done to a run of the model while it samples, and the hooks that do it.

An ``Edit`` changes one block's residual update, a ``Patch`` puts another image's update in its place, a ``Switch`` has
another caption read. Each holds at the steps of a window (t_low, t_high], for all images of a batch or for some: so one
batch may carry a prompt under many interventions, beside the run that they are compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffusion.times import in_window, time_of_step

HALVES = ("uncond", "cond")  # of a U-Net call's rows, in order


class During:
    """Held at the steps of the window (t_low, t_high], for ``images``: rows of the batch, or None for all of them."""

    t_low: float
    t_high: float
    images: tuple[int, ...] | None

    def active(self, step: int, steps: int) -> bool:
        """Whether it holds at a reverse step."""
        return in_window(time_of_step(step, steps), self.t_low, self.t_high)

    def rows(self, count: int) -> tuple[int, ...]:
        """The images of a batch of ``count`` that it holds for."""
        return tuple(range(count)) if self.images is None else self.images


@dataclass(frozen=True)
class Edit(During):
    """A change of one block's residual update in one half of guidance.

    ``apply(delta, t)`` gets delta float32 [images, rows, columns, channels] and returns what replaces it.
    """

    module: str
    t_low: float
    t_high: float
    apply: Callable[[Tensor, float], Tensor]
    half: str = "cond"
    images: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Patch(During):
    """The residual update of other images of the batch, ``sources``, one for each of ``images``, in its own place.

    ``share`` float [images, rows, columns]: how much of the source's there is at each position, all of it by default.
    """

    module: str
    t_low: float
    t_high: float
    images: tuple[int, ...]
    sources: tuple[int, ...]
    half: str = "cond"
    share: Tensor | None = None


@dataclass(frozen=True)
class Switch(During):
    """Other captions, one for each of ``images``, read by the whole U-Net, or by the one attention block ``module``."""

    captions: tuple[str, ...]
    t_low: float
    t_high: float
    images: tuple[int, ...]
    module: str | None = None


@dataclass(frozen=True)
class Watch(During):
    """A look at one block's residual update in one half of guidance as it leaves the block, whatever was done to it.

    ``see(delta, t)`` gets delta float32 [images, rows, columns, channels], and changes nothing.
    """

    module: str
    t_low: float
    t_high: float
    see: Callable[[Tensor, float], None]
    half: str = "cond"
    images: tuple[int, ...] | None = None


Intervention = Edit | Patch | Switch


@dataclass
class Step:
    """Where the sampling stands: ``of_image`` gives each image's row in a half of the U-Net's call."""

    number: int
    steps: int
    of_image: list[int]

    def rows(self, images: Sequence[int]) -> list[int]:
        """Rows of images in the halves of the U-Net's call."""
        return [self.of_image[image] for image in images]


def parting_steps(interventions: Sequence[Intervention | Watch], images: int, steps: int) -> list[int]:
    """The first step at which anything is done to each image; ``steps`` where nothing ever is."""
    first = [steps] * images
    for one in interventions:
        begin = next((step for step in range(steps) if one.active(step, steps)), steps)
        for image in one.rows(images):
            first[image] = min(first[image], begin)
    return first


@contextmanager
def attached(
    unet: torch.nn.Module,
    interventions: Sequence[Intervention],
    at: Step,
    states_of: Callable[[Sequence[str]], Tensor],
) -> Iterator[None]:
    """While the context is open the U-Net's blocks do as the interventions say, each at its steps.

    ``states_of`` gives the text states [n, tokens, width] of captions. The hooks are removed also after an error.
    """
    handles = []
    try:
        for one in interventions:
            if isinstance(one, Switch):
                if one.module is not None:
                    hook = _reading_hook(one, at, states_of)
                    module = unet.get_submodule(one.module)
                    handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
            else:
                handles.append(unet.get_submodule(one.module).register_forward_hook(_writing_hook(one, at)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _writing_hook(one: Edit | Patch, at: Step) -> Callable[..., Any]:
    place = HALVES.index(one.half)

    def hook(_module: Any, inputs: Any, output: Any) -> Any:
        if not one.active(at.number, at.steps):
            return None
        halves = list(hidden_states(output).chunk(2))
        after, before = halves[place], inputs[0].chunk(2)[place]

        def update(rows: list[int]) -> Tensor:
            return (after[rows] - before[rows]).float().permute(0, 2, 3, 1)

        rows = at.rows(one.rows(len(at.of_image)))
        delta = update(rows)
        if isinstance(one, Patch):
            change = update(at.rows(one.sources)) - delta
            change = change if one.share is None else one.share[..., None].to(change) * change
        else:
            change = one.apply(delta, time_of_step(at.number, at.steps)) - delta
        # Adding the change, not rebuilding the output, keeps an edit of nothing bit-exact.
        halves[place] = after.clone()
        halves[place][rows] += change.permute(0, 3, 1, 2).to(after.dtype)
        return with_hidden_states(output, torch.cat(halves))

    return hook


@contextmanager
def watched(unet: torch.nn.Module, watches: Sequence[Watch], at: Step) -> Iterator[None]:
    """While the context is open the watches see; opened after ``attached``, they see what the interventions leave."""
    handles = [unet.get_submodule(one.module).register_forward_hook(_seeing_hook(one, at)) for one in watches]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seeing_hook(one: Watch, at: Step) -> Callable[..., None]:
    place = HALVES.index(one.half)

    def hook(_module: Any, inputs: Any, output: Any) -> None:
        if one.active(at.number, at.steps):
            after, before = hidden_states(output).chunk(2)[place], inputs[0].chunk(2)[place]
            rows = at.rows(one.rows(len(at.of_image)))
            one.see((after[rows] - before[rows]).float().permute(0, 2, 3, 1), time_of_step(at.number, at.steps))

    return hook


def _reading_hook(one: Switch, at: Step, states_of: Callable[[Sequence[str]], Tensor]) -> Callable[..., Any]:
    def hook(_module: Any, inputs: Any, given: dict[str, Any]) -> Any:
        if not one.active(at.number, at.steps):
            return None
        states = given["encoder_hidden_states"].clone()
        cond = len(states) // 2
        states[[cond + row for row in at.rows(one.rows(len(at.of_image)))]] = states_of(one.captions)
        return inputs, {**given, "encoder_hidden_states": states}

    return hook


def hidden_states(output: Any) -> Tensor:
    """What a transformer block returns: a tuple or an output object, by how it was called."""
    return output[0] if isinstance(output, tuple) else output.sample


def with_hidden_states(output: Any, hidden: Tensor) -> Any:
    """The same output with other hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else type(output)(sample=hidden)
