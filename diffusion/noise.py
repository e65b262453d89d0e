"""The noise that images begin as, by their seeds: drawn again whenever it is asked for, so that none is stored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from diffusion import folder
from diffusion.settings import ModelSettings, SamplingSettings


def drawn_noise(shape: tuple[int, int, int], seeds: Sequence[int]) -> Tensor:
    """Unit normal latents float32 [B, *shape] on the CPU; each depends on its seed alone."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def latent_shape_of(model: ModelSettings, sampling: SamplingSettings) -> tuple[int, int, int]:
    """(channels, rows, columns) of the latent, told by the model's configs alone."""
    unet, vae = (
        part_class.load_config(model.path, subfolder=part, revision=model.revision)
        for part_class, part in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae"))
    )
    return folder.latent_shape(unet, vae, sampling)
