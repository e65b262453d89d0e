"""The initial noise of a study's images, drawn again from the seeds of their prompts."""

from __future__ import annotations

import numpy as np

from diffusion.noise import drawn_noise, latent_shape_of
from study.reading import prompts_of
from study.study import Study


def noise_of(study: Study, start: int, stop: int) -> np.ndarray:
    """float32 [n, channels, rows, columns] of the prompts with start <= prompt_id < stop: what sampling begins with."""
    shape = latent_shape_of(study.config.model, study.config.sampling)
    return drawn_noise(shape, prompts_of(study, start, stop)["seed"].to_pylist()).numpy()
