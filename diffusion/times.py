"""Diffusion time and reverse steps: 1 is pure noise and the first step, 0 the image and the last. No heavy imports."""

from __future__ import annotations

SAME = 1e-9  # times this near are one: 1 - 12 / 15 is not quite 0.2


def step_of_time(t: float, steps: int) -> int:
    """Index of the reverse step at diffusion time t: 1 is the first step (0), 0 the last (steps - 1)."""
    return round((1.0 - t) * (steps - 1))


def time_of_step(step: int, steps: int) -> float:
    """Diffusion time in [0, 1] of a reverse step."""
    return 1.0 - step / (steps - 1)


def in_window(t: float, low: float, high: float) -> bool:
    """Whether a step at time t belongs to a window: low < t <= high, and t = 0 to a window that begins there.

    Half open, so that of windows that touch exactly one has the step where they do. Times are quotients of steps:
    what differs by a rounding error is the same time.
    """
    above = t > low + SAME or (t <= SAME and low <= SAME)
    return above and t <= high + SAME


def steps_in_window(low: float, high: float, steps: int) -> list[int]:
    """The reverse steps that belong to a window, in their order."""
    return [step for step in range(steps) if in_window(time_of_step(step, steps), low, high)]
