"""Dictionaries that nobody trained, against scikit-learn, plain numpy and numbers by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as FITTED

from sae.baselines import NEURONS, PCA, SHUFFLED_DECODER, both_poles, principal_directions, shuffled_decoder
from sae.errors import SAEError
from sae.model import TopKSAE

HERE = Path("here")


def codes(sae, x):
    values, latents = sae.encode(torch.as_tensor(np.asarray(x, np.float32)))
    return torch.zeros(len(values), sae.n).scatter_(1, latents, values).numpy()


@pytest.fixture
def x():
    """200 vectors whose directions of 5, 4, 3, 2, 1 and 0.5 are turned, away from the origin."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    return (rng.normal(size=(200, 6)) * [5, 4, 3, 2, 1, 0.5] @ turned + [1, -2, 3, 0, 8, 1]).astype(np.float32)


def test_the_names_are_those_of_the_tables():
    assert (SHUFFLED_DECODER, NEURONS, PCA) == ("shuffled_decoder", "neurons", "pca")


# Both poles


def test_codes_and_reconstruction_by_hand():
    """Rows (1, 0) and (0, 2) about the mean (1, 10), tied: poles 0 and 1 are positive, 2 and 3 negative."""
    sae = both_poles(HERE, torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([1.0, 10.0]), 2)
    x = [[4.0, 9.0], [-1.0, 10.5], [1.0, 10.0], [2.0, 13.0]]
    z = codes(sae, x)
    assert z.tolist() == [[3, 0, 0, 2], [0, 1, 2, 0], [0, 0, 0, 0], [1, 6, 0, 0]]
    # A row of length 2 writes back four times what it read: (x - mean) r r^T.
    assert sae(torch.tensor(x)).tolist() == [[4, 6], [-1, 12], [1, 10], [2, 22]]


def test_poles_are_the_rows_and_then_their_opposites():
    directions = torch.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    sae = both_poles(HERE, directions, torch.tensor([7.0, 8.0, 9.0]), 1)
    assert sae.W_dec.tolist() == [[1, 2, 3], [-4, 5, 6], [-1, -2, -3], [4, -5, -6]]
    assert torch.equal(sae.W_enc, sae.W_dec.T) and sae.b_enc.tolist() == [0] * 4 and sae.b_dec.tolist() == [7, 8, 9]
    assert sae.n == 4 and not any(p.requires_grad for p in sae.parameters())


def test_of_the_poles_the_strongest_alone_are_on():
    sae = both_poles(HERE, torch.eye(3), torch.zeros(3), 1)
    assert codes(sae, [[1.0, -3.0, 2.0]]).tolist() == [[0, 0, 0, 0, 3, 0]]


@pytest.mark.parametrize(("k", "on"), [(1, 1), (2, 2), (3, 3), (4, 3), (20, 3)])
def test_no_more_are_on_than_there_are_directions(k, on):
    sae = both_poles(HERE, torch.eye(3), torch.zeros(3), k)
    assert sae.k == on and sae.encode(torch.ones(5, 3))[0].shape == (5, on)


def test_neurons_are_the_strongest_channels_of_either_sign(x):
    mean = x.mean(0)
    z = codes(both_poles(HERE, torch.eye(6), torch.from_numpy(mean), 2), x)
    for row, vector in zip(z, x - mean, strict=True):
        strongest = np.argsort(-np.abs(vector))[:2]
        expected = np.zeros(12, np.float32)
        for channel in strongest:
            expected[channel + (6 if vector[channel] < 0 else 0)] = abs(vector[channel])
        assert row == pytest.approx(expected, abs=1e-5)


def test_what_is_not_finite_is_refused_by_name():
    with pytest.raises(SAEError, match=r"^here: W_"):
        both_poles(HERE, torch.tensor([[float("nan"), 1.0]]), torch.zeros(2), 1)


# Principal directions


def test_principal_directions_are_scikit_learns(x):
    ours = principal_directions(x)
    assert ours.dtype == torch.float32 and ours.is_contiguous()
    assert np.abs((ours.numpy() * FITTED(6).fit(x).components_).sum(1)) == pytest.approx(np.ones(6), abs=1e-4)


def test_principal_directions_are_orthonormal_and_their_variances_fall(x):
    ours = principal_directions(x).numpy()
    assert ours @ ours.T == pytest.approx(np.eye(6), abs=1e-5)
    spread = ((x - x.mean(0)) @ ours.T).std(0)
    assert (np.diff(spread) < 0).all() and spread == pytest.approx([5, 4, 3, 2, 1, 0.5], rel=0.15)


def test_where_the_vectors_lie_does_not_turn_the_directions(x):
    moved = principal_directions(x + np.float32(50)).numpy()
    assert np.abs((moved * principal_directions(x).numpy()).sum(1)) == pytest.approx(np.ones(6), abs=1e-3)


def test_all_principal_components_together_are_the_vector(x):
    sae = both_poles(HERE, principal_directions(x), torch.from_numpy(x.mean(0)), 6)
    assert sae(torch.from_numpy(x)).numpy() == pytest.approx(x, abs=1e-3)


# The shuffled decoder


@pytest.fixture
def trained():
    torch.manual_seed(0)
    sae = TopKSAE(64, 32, 4)
    with torch.no_grad():
        torch.nn.init.normal_(sae.W_dec)
        sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
        torch.nn.init.normal_(sae.b_dec)
        torch.nn.init.normal_(sae.b_enc)
    return sae.requires_grad_(False)


def test_a_shuffled_decoder_keeps_norms_and_entries_and_loses_the_rest(trained):
    kept = trained.W_dec.clone()
    shuffled = shuffled_decoder(trained, 4, seed=0)
    before, after = kept.numpy(), shuffled.W_dec.numpy()
    assert np.array_equal(np.sort(before, 1), np.sort(after, 1))
    assert np.linalg.norm(after, axis=1) == pytest.approx(np.ones(32), abs=1e-5)
    assert np.abs((before * after).sum(1)).max() < 0.7  # 32 cosines of about normal with sd 1 / 8
    assert torch.equal(trained.W_dec, kept)


def test_a_shuffled_decoder_reads_by_its_own_transpose_about_the_trained_bias(trained):
    shuffled = shuffled_decoder(trained, 7, seed=0)
    assert torch.equal(shuffled.W_enc, shuffled.W_dec.T) and torch.equal(shuffled.b_dec, trained.b_dec)
    assert not shuffled.b_enc.any() and trained.b_enc.any()
    values, latents = shuffled.encode(torch.randn(10, 64))
    assert values.shape == latents.shape == (10, 7)


def test_concepts_are_shuffled_each_by_itself_and_by_the_seed(trained):
    with torch.no_grad():
        trained.W_dec.copy_(torch.arange(64.0).expand(32, 64))
    found = shuffled_decoder(trained, 4, seed=0).W_dec
    assert len({tuple(row) for row in found.tolist()}) == 32
    assert torch.equal(shuffled_decoder(trained, 4, seed=0).W_dec, found)
    assert not torch.equal(shuffled_decoder(trained, 4, seed=1).W_dec, found)
