"""Training in the principal axes: the same model in other coordinates, turned back at the end."""

import numpy as np
import pytest
import torch

from sae.axes import AXES_VECTORS, axes_of
from sae.kinds import FROZEN, FROZEN_ENCODER, SOFT_FROZEN
from sae.members import Member, Stack, _unit_rows, turned_back
from sae.settings import SAESettings
from sae.source import EqualShares, Standardised, measure
from sae.train import train

D = 8


class Vectors:
    """Rows of a matrix, in an order that (seed, epoch) fixes."""

    def __init__(self, x):
        self.x, (self.n_vectors, self.d) = x, x.shape

    def chunks(self):
        yield self.x

    def batches(self, batch_size, seed, epoch, skip=0):
        order = np.random.default_rng((seed, epoch)).permutation(self.n_vectors)
        for i in range(skip, self.n_vectors // batch_size):
            yield self.x[order[i * batch_size : (i + 1) * batch_size]]


SETTINGS = SAESettings(k=(2,), batch_size=64, lr=5e-3, vectors=64 * 30, axes="principal", encoder_start=0.25)
MEMBERS = [Member(2, 32, 0), Member(2, 32, 1), Member(2, 32, 0, SOFT_FROZEN), Member(2, 32, 0, FROZEN)]


def standardised(seed=0, n=640):
    """Vectors whose variance lies in a few directions that no channel is."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, D)) * np.geomspace(8, 0.1, D) @ np.linalg.qr(rng.normal(size=(D, D)))[0]
    source = Vectors(mixed.astype(np.float32))
    return Standardised(source, measure(source))


def test_the_axes_are_those_of_the_covariance_in_falling_order():
    data = standardised()
    axes = axes_of(data, SETTINGS, seed=3)
    x = torch.cat(list(data.batches(64, 3, 0))).double()  # fewer than AXES_VECTORS: all of them
    assert len(x) < AXES_VECTORS
    turned = (x - x.mean(0)) @ axes.double().T
    covariance = turned.T @ turned / len(x)
    assert torch.allclose(axes @ axes.T, torch.eye(D), atol=1e-5)
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-4 * covariance.max()
    assert (covariance.diag().diff() <= 0).all()
    assert axes_of(data, SETTINGS.model_copy(update={"axes": "channels"}), seed=3) is None


def test_an_sae_turned_back_gives_in_the_channels_what_it_gave_in_the_axes():
    axes = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0]
    stack = Stack(D, [Member(3, 32, 5)])
    with torch.no_grad():
        stack.b.normal_(generator=torch.Generator().manual_seed(1))
        stack.W_enc.mul_(0.7)
    x = torch.randn(50, D, generator=torch.Generator().manual_seed(2))
    before, sae = stack.start.clone(), stack.member(0)
    stack.turn(axes)
    there = stack.member(0)
    assert torch.allclose(there(x @ axes.T) @ axes, sae(x), atol=1e-5)
    assert torch.allclose(stack.start, before @ axes.T)
    back = turned_back(there, axes)
    assert torch.allclose(back(x), sae(x), atol=1e-5) and torch.allclose(back.W_dec, sae.W_dec, atol=1e-6)


def test_turning_the_start_alone_leaves_weights_that_a_checkpoint_had_turned():
    stack = Stack(D, [Member(3, 32, 5)])
    axes = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0]
    weights = stack.W_dec.clone()
    stack.turn(axes, start_only=True)
    assert torch.equal(stack.W_dec, weights) and torch.allclose(stack.start, weights @ axes.T)


def test_held_weights_are_held_in_the_channels_too():
    result = train(standardised(), SETTINGS.model_copy(update={"lr": 5e-2}), MEMBERS, seed=0)
    drawn = Stack(D, MEMBERS)
    for index, member in enumerate(MEMBERS):
        cosine = torch.linalg.vecdot(result.saes[member].W_dec, drawn.start[drawn.rows(index)])
        if member.kind == FROZEN:
            assert torch.allclose(cosine, torch.ones(32), atol=1e-5)
        elif member.kind == SOFT_FROZEN:
            assert cosine.min() > 0.8 - 1e-5 and cosine.min() < 0.99
        else:
            assert cosine.min() < 0.8


class Turned:
    """Another source's batches, expressed in other axes before training hears of them."""

    sites = 1

    def __init__(self, data, axes):
        self.data, self.axes, self.d = data, axes, data.d

    def n_batches(self, batch_size):
        return self.data.n_batches(batch_size)

    def batches(self, *given):
        for batch in self.data.batches(*given):
            yield batch @ self.axes.T

    def digest(self):
        return "turned"


def test_adam_in_the_axes_is_adam_on_vectors_expressed_in_them(monkeypatch):
    data, member = standardised(), Member(2, 32, 0)
    axes = axes_of(data, SETTINGS, seed=0)
    trained = train(data, SETTINGS, [member], seed=0).saes[member]
    drawn = _unit_rows(32, D, 0) @ axes.T
    monkeypatch.setattr("sae.members._unit_rows", lambda *_: drawn.clone())
    channels = SETTINGS.model_copy(update={"axes": "channels"})
    other = turned_back(train(Turned(data, axes), channels, [member], seed=0).saes[member], axes)
    for name, weights in trained.state_dict().items():
        assert torch.allclose(weights, other.state_dict()[name], atol=1e-5), name


def test_an_encoder_starts_as_short_as_the_setting_says_but_for_one_that_is_held():
    stack = Stack(D, [Member(2, 32, 0), Member(2, 32, 0, FROZEN_ENCODER)], encoder_start=0.25)
    assert torch.equal(stack.W_enc[stack.rows(0)], 0.25 * stack.start[stack.rows(0)])
    assert torch.equal(stack.W_enc[stack.rows(1)], stack.start[stack.rows(1)])


@pytest.mark.parametrize(("vectors", "steps"), [(64 * 30, 30), (64 * 30 + 63, 30), (63, 1), (64 * 7, 7)])
def test_a_run_sees_as_many_vectors_as_it_is_told_in_as_many_passes_as_that_takes(vectors, steps):
    result = train(standardised(), SETTINGS.model_copy(update={"vectors": vectors}), MEMBERS[:1], seed=0)
    assert result.steps == steps and result.n_vectors == 64 * steps  # a pass has ten batches


def test_a_run_over_several_sites_sees_as_many_of_each():
    both = EqualShares([standardised(0), standardised(1)])
    assert both.sites == 2
    result = train(both, SETTINGS.model_copy(update={"vectors": 64 * 5}), MEMBERS[:1], seed=0)
    assert result.steps == 10


def test_passes_count_by_epochs_where_no_number_of_vectors_is_given():
    assert SAESettings(epochs=3).steps(per_epoch=7, sites=4) == 21
    with pytest.raises(ValueError, match=r"sae.vectors 5 and sae.epochs 2 both say how long to train: leave one out"):
        SAESettings(vectors=5, epochs=2)


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1)])
def test_adams_memory_must_be_shorter_than_for_ever(betas):
    with pytest.raises(ValueError, match=r"sae.adam_betas must be two numbers from 0 to below 1"):
        SAESettings(adam_betas=betas)
