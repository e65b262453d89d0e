"""Recording on given images, against the noising formula and a hook of our own."""

import math

import numpy as np
import pytest
import torch

from diffusion.errors import DiffusionError
from diffusion.model import encode_captions, load_model
from diffusion.noised import encode_images, record_images, signal_to_noise
from diffusion.sampling import SitesToRecord, initial_noise, sample
from diffusion.settings import ModelSettings, SamplingSettings
from miniature.world import make_scene
from tests.paths import SD_MINI

BLOCKS = {"mid": "mid_block.attentions.0", "up": "up_blocks.1.attentions.0"}
FEW = SamplingSettings(steps=5, guidance_scale=3.0)


@pytest.fixture(scope="module")
def model():
    return load_model(ModelSettings(path=str(SD_MINI), device="cpu"))


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(seed) for seed in range(70_000_000, 70_000_003)]


def test_what_is_recorded_is_one_call_on_the_noised_latent(model, scenes):
    images, captions = np.stack([s.image for s in scenes]), [s.caption for s in scenes]
    got = record_images(model, images, captions, [4, 5, 6], FEW, SitesToRecord(BLOCKS, (0.5,), ("cond",)))
    assert set(got) == {("mid", 0.5, "cond"), ("up", 0.5, "cond")}
    model.scheduler.set_timesteps(5)
    timestep = model.scheduler.timesteps[2]
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2  # SD's schedule
    alpha = float(torch.cumprod(1 - betas, 0)[timestep])
    latents = encode_images(model, images)
    noisy = math.sqrt(alpha) * latents + math.sqrt(1 - alpha) * initial_noise(model, [4, 5, 6], FEW)
    seen = []
    handle = model.unet.get_submodule(BLOCKS["mid"]).register_forward_hook(
        lambda module, inputs, output: seen.append((output[0] - inputs[0]).permute(0, 2, 3, 1))
    )
    with torch.inference_mode():
        model.unet(noisy, timestep, encode_captions(model, captions))
    handle.remove()
    assert np.allclose(got["mid", 0.5, "cond"], seen[0].numpy(), atol=2e-2, rtol=1e-2)
    assert signal_to_noise(model, 0.5, FEW) == pytest.approx(alpha / (1 - alpha), rel=1e-4)


def test_encoding_is_undone_by_decoding(model, scenes):
    images = np.stack([s.image for s in scenes])
    with torch.inference_mode():
        back = model.vae.decode(encode_images(model, images) / model.vae.config.scaling_factor).sample
    error = np.abs((back.permute(0, 2, 3, 1).numpy() / 2 + 0.5).clip(0, 1) * 255 - images).mean()
    assert error < 12  # of 255: the autoencoder is small, but it is this image and no other


def test_no_hook_stays_and_another_size_is_refused(model, scenes):
    images = np.stack([s.image for s in scenes])
    before = sample(model, ["a tree"], [0], FEW).images
    record_images(model, images, ["a", "b", "c"], [1, 2, 3], FEW, SitesToRecord(BLOCKS, (1.0, 0.0)))
    assert np.array_equal(before, sample(model, ["a tree"], [0], FEW).images)
    with pytest.raises(DiffusionError, match=r"images of 32 x 32 pixels have latents .* give images of the size"):
        record_images(model, images[:, ::2, ::2], ["a", "b", "c"], [1, 2, 3], FEW, SitesToRecord(BLOCKS, (0.5,)))
