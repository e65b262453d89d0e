"""Recording on given images: an image whose content is known, noised to a time, as the model would meet it there.

Sampling tells what the model made; this tells what it sees. The residual updates are those of one U-Net call on
``sqrt(alpha) x + sqrt(1 - alpha) noise``, the marginal that the model was trained on at that timestep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from diffusion.edits import Step
from diffusion.errors import DiffusionError
from diffusion.model import DiffusionModel, check_blocks
from diffusion.sampling import Recorder, SitesToRecord, guidance_states, initial_noise
from diffusion.schedule import set_steps
from diffusion.settings import SamplingSettings
from diffusion.times import step_of_time
from storage.site import Site


@torch.inference_mode()
def record_images(
    model: DiffusionModel,
    images: np.ndarray,
    captions: Sequence[str],
    seeds: Sequence[int],
    settings: SamplingSettings,
    record: SitesToRecord,
) -> dict[Site, np.ndarray]:
    """Residual updates float16 [B, rows, columns, channels] by site, for images uint8 [B, H, W, 3] with captions.

    The noise of an image depends on its seed alone. Raises ``DiffusionError`` for images of another size than the
    settings sample, or a block that does not exist.
    """
    check_blocks(model, record.blocks)
    noise = initial_noise(model, seeds, settings)
    latents = encode_images(model, images)
    if latents.shape != noise.shape:
        raise DiffusionError(
            f"images of {images.shape[2]} x {images.shape[1]} pixels have latents {tuple(latents.shape[1:])}, "
            f"but the study samples {tuple(noise.shape[1:])}: give images of the size that the model makes"
        )
    text, scheduler = guidance_states(model, captions), model.scheduler
    set_steps(scheduler, settings.steps)
    at = Step(0, settings.steps, list(range(len(captions))))
    recorder = Recorder(record, at)
    with recorder.attached(model):
        for t in record.times:
            at.number = step_of_time(t, settings.steps)
            timestep = scheduler.timesteps[at.number]
            noisy = scheduler.add_noise(latents, noise, timestep.expand(len(latents)))
            model.unet(torch.cat([noisy, noisy]), timestep, text)
    return recorder.taken


@torch.inference_mode()
def encode_images(model: DiffusionModel, images: np.ndarray) -> torch.Tensor:
    """Scaled latents [B, 4, rows, columns] of images uint8 [B, H, W, 3]: the mean of the encoder's posterior."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(model.device, torch.float32) / 127.5 - 1.0
    return model.vae.encode(x.to(model.dtype)).latent_dist.mean * model.vae.config.scaling_factor


def signal_to_noise(model: DiffusionModel, t: float, settings: SamplingSettings) -> float:
    """alpha / (1 - alpha) of the timestep that is recorded at diffusion time ``t``: how much of an image is left."""
    set_steps(model.scheduler, settings.steps)
    alpha = float(model.scheduler.alphas_cumprod[model.scheduler.timesteps[step_of_time(t, settings.steps)]])
    return alpha / (1.0 - alpha)
