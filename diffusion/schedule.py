"""The noise schedule: DDIM as diffusers' own pipeline would run it on the folder, and steps that the schedule can take.

The pipeline overrides two values of an outdated folder when it is built, and so does ``load_schedule``: predicted
latents are not pixels and must not be clipped to [-1, 1], and Stable Diffusion was trained with timesteps from 1.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler

from diffusion.errors import DiffusionError
from diffusion.outdated import corrections

PREDICTIONS = ("epsilon", "sample", "v_prediction")


def load_schedule(path: str, revision: str | None = None) -> DDIMScheduler:
    """DDIM on the noise schedule of a model folder or hub id, whatever scheduler it names (paper, section 1)."""
    loaded = DDIMScheduler.load_config(path, subfolder="scheduler", revision=revision)
    config = dict(loaded[0] if isinstance(loaded, tuple) else loaded)
    return DDIMScheduler.from_config(config, **corrections(config))


def set_steps(scheduler: DDIMScheduler, steps: int) -> None:
    """Make the scheduler take ``steps`` reverse steps. Raises ``DiffusionError`` if it cannot.

    It cannot take more steps than the model has training timesteps, the same timestep twice, or one without any
    signal if the model predicts the noise, since nothing can be told from that.
    """
    known = int(scheduler.config.num_train_timesteps)
    if steps > known:
        raise DiffusionError(f"sampling.steps is {steps}, but the model has {known} training timesteps: take fewer")
    try:
        scheduler.set_timesteps(steps)
    except Exception as error:  # whatever an odd scheduler_config.json leads to
        raise DiffusionError(
            f"scheduler/scheduler_config.json cannot be sampled ({error}): correct that value"
        ) from error
    times = scheduler.timesteps
    if len(times.unique()) != steps or times.min() < 0 or times.max() >= len(scheduler.alphas_cumprod):
        spacing = scheduler.config.timestep_spacing
        raise DiffusionError(
            f"sampling.steps {steps} with the scheduler's timestep_spacing {spacing!r} are not {steps} of the model's "
            f"{known} training timesteps (the first would be {int(times.max())} of 0 to {known - 1}): take fewer"
        )
    _check_signal(scheduler, scheduler.alphas_cumprod[times])


def _check_signal(scheduler: DDIMScheduler, alphas: torch.Tensor) -> None:
    """``alphas``: share of the signal's variance at each step; DDIM divides by its root, or by the noise's."""
    prediction = scheduler.config.prediction_type
    if prediction not in PREDICTIONS:
        raise DiffusionError(
            f"scheduler/scheduler_config.json: prediction_type is {prediction!r}: it must be one of "
            f"{', '.join(PREDICTIONS)}"
            f"{', '.join(PREDICTIONS)}"
        )
    if not bool(((alphas >= 0) & (alphas <= 1)).all()):
        raise DiffusionError(
            "scheduler/scheduler_config.json: its betas give shares of signal outside [0, 1]: restore the file"
        )
    if prediction == "epsilon" and bool((alphas == 0).any()):
        raise DiffusionError(
            "scheduler/scheduler_config.json: the first step has no signal at all (rescale_betas_zero_snr), from which "
            "a model that predicts the noise (prediction_type 'epsilon') can tell nothing: set rescale_betas_zero_snr "
            "to false, or prediction_type to what the model was trained for (mostly 'v_prediction')"
        )
