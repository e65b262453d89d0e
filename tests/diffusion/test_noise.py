"""The initial noise, drawn again from seeds: what sampling begins with."""

import pytest
import torch

from diffusion.errors import DiffusionError
from diffusion.model import load_model
from diffusion.noise import drawn_noise, latent_shape_of
from diffusion.sampling import initial_noise
from diffusion.settings import ModelSettings, SamplingSettings
from tests.paths import SD_MINI

MINI = ModelSettings(path=str(SD_MINI), device="cpu")


@pytest.mark.parametrize("size", [{}, {"height": 128, "width": 64}])
def test_the_noise_that_a_study_draws_again_is_what_sampling_begins_with(size):
    settings = SamplingSettings(steps=2, **size)
    model = load_model(MINI)
    assert latent_shape_of(MINI, settings) == model.latent_shape(settings)
    again = drawn_noise(latent_shape_of(MINI, settings), [7, 8])
    assert torch.equal(again, initial_noise(model, [7, 8], settings))
    assert torch.equal(again[1:], drawn_noise(latent_shape_of(MINI, settings), [8])) and not torch.equal(*again)


def test_a_size_that_the_model_cannot_make_is_refused():
    with pytest.raises(DiffusionError, match="multiples of"):
        latent_shape_of(MINI, SamplingSettings(steps=2, height=65, width=64))
