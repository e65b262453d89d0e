"""How far an edit that a user asks for has come, in steps of its images: for a page or a bar that tells of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diffusion.model import DiffusionModel
from diffusion.times import steps_in_window
from tasks.edit_scores import PICTURES
from tasks.edit_terms import EditPlan

Told = Callable[[int, int], None]  # is given how many steps are done, and of how many


def steps_of(plan: EditPlan, steps: int, batches: int) -> int:
    """Steps of all images, those of ``batches`` of further controls included; what is before the window is shared."""
    first = min(step for part in plan.parts for step in steps_in_window(*part.window[:2], steps))
    return steps + (len(PICTURES) - 1 + batches) * (steps - first)


@contextmanager
def steps_told(model: DiffusionModel, told: Told | None, of: int) -> Iterator[None]:
    """Tell of every step that the model takes while the context is open."""
    done = 0

    def tell(*_: object) -> None:
        nonlocal done
        done += 1
        if told is not None:
            told(done, of)

    hook = model.unet.register_forward_hook(tell)
    try:
        yield
    finally:
        hook.remove()
