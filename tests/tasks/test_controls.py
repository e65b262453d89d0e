"""The controls' encoders against numpy, and what must differ between them and a dictionary."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae.model import TopKSAE
from tasks.controls import both_poles, principal_directions, shuffled_decoder


def codes(sae, x):
    values, latents = sae.encode(torch.from_numpy(x))
    return torch.zeros(len(x), sae.n).scatter_(1, latents, values).numpy()


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, 6)) * [5, 4, 3, 2, 1, 0.5] + 1).astype(np.float32)


def test_neurons_are_the_strongest_channels_of_either_sign(x):
    mean = x.mean(0)
    z = codes(both_poles(Path("x"), torch.eye(6), torch.from_numpy(mean), 2), x)
    moved = x - mean
    for row, vector in zip(z, moved, strict=True):
        strongest = np.argsort(-np.abs(vector))[:2]
        expected = np.zeros(12, np.float32)
        for channel in strongest:
            expected[channel + (6 if vector[channel] < 0 else 0)] = abs(vector[channel])
        assert row == pytest.approx(expected, abs=1e-5)


def test_principal_directions_are_scikit_learns(x):
    from sklearn.decomposition import PCA

    ours, theirs = principal_directions(x).numpy(), PCA(6).fit(x).components_
    assert np.abs((ours * theirs).sum(1)) == pytest.approx(np.ones(6), abs=1e-4)


def test_a_shuffled_decoder_keeps_norms_and_entries_and_loses_the_rest():
    sae = TopKSAE(64, 32, 4)
    with torch.no_grad():
        torch.nn.init.normal_(sae.W_dec)
        sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
        torch.nn.init.normal_(sae.b_dec)
    sae.requires_grad_(False)
    shuffled = shuffled_decoder(sae, 4, seed=0)
    before, after = sae.W_dec.numpy(), shuffled.W_dec.numpy()
    assert np.array_equal(np.sort(before, 1), np.sort(after, 1))
    assert np.abs((before * after).sum(1)).max() < 0.7  # 32 cosines of about normal with sd 1 / 8
    assert np.array_equal(shuffled.W_enc.numpy(), after.T) and np.array_equal(shuffled.b_dec, sae.b_dec)
    assert np.array_equal(shuffled_decoder(sae, 4, seed=0).W_dec, shuffled.W_dec)
    values, latents = shuffled.encode(torch.randn(10, 64))
    assert values.shape == (10, 4)
