"""The sparse products and their closed-form gradients: finite differences, and dense algebra on random layouts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae.largest import largest
from sae.primitives import sddmm
from sae.sparse import (
    ByLatent,
    Chosen,
    DecodeAt,
    EncodeAt,
    chosen_from_pairs,
    chosen_from_rows,
    pre_activations_at,
)


def layout(stacked, n_vectors, n, k, seed, ragged=False) -> Chosen:
    """k latents in every row, or any number from 0 to k of them."""
    generator = torch.Generator().manual_seed(seed)
    rows = stacked * n_vectors
    latents = torch.rand(rows, n, generator=generator).topk(k, dim=1).indices
    latents = latents + (torch.arange(rows) // n_vectors * n)[:, None]
    if not ragged:
        return chosen_from_rows(latents, n_vectors, stacked * n)
    keep = torch.rand(rows, k, generator=generator) < 0.5
    row_of = torch.arange(rows)[:, None].expand(rows, k)[keep]
    return chosen_from_pairs(latents[keep], row_of, rows, n_vectors, stacked * n)


def dense(values, chosen, rows):
    """The sparse matrix written out, [R, S * M]."""
    out = torch.zeros(rows, chosen.n_latents, dtype=values.dtype)
    return out.index_put((chosen.rows_E, chosen.latents_E), values, accumulate=True)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("stacked", [1, 3])
def test_gradients_of_encoding_pass_gradcheck(stacked, ragged):
    torch.manual_seed(0)
    chosen = layout(stacked, 5, 7, 3, 1, ragged)
    x, w, b = (
        torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in ((5, 4), (stacked * 7, 4), (stacked, 4))
    )
    order = ByLatent.of(chosen)
    assert torch.autograd.gradcheck(lambda x, w, b: EncodeAt.apply(x, w, b, chosen, order, None), (x, w, b))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("stacked", [1, 3])
def test_gradients_of_decoding_pass_gradcheck(stacked, ragged):
    torch.manual_seed(0)
    chosen = layout(stacked, 5, 7, 3, 2, ragged)
    values = torch.randn(len(chosen.latents_E), dtype=torch.float64, requires_grad=True)
    w = torch.randn(stacked * 7, 4, dtype=torch.float64, requires_grad=True)
    order = ByLatent.of(chosen)
    assert torch.autograd.gradcheck(lambda v, w: DecodeAt.apply(v, w, chosen, order), (values, w))


@settings(max_examples=60, deadline=None)
@given(
    stacked=st.integers(1, 3),
    n_vectors=st.integers(1, 9),
    n=st.integers(1, 12),
    d=st.integers(1, 9),
    seed=st.integers(0, 1000),
    ragged=st.booleans(),
    data=st.data(),
)
def test_values_and_gradients_equal_dense_algebra(stacked, n_vectors, n, d, seed, ragged, data):
    k = data.draw(st.integers(1, n))
    chosen = layout(stacked, n_vectors, n, k, seed, ragged)
    generator = torch.Generator().manual_seed(seed)
    x, w_enc, w_dec, b = (
        torch.randn(*s, generator=generator, dtype=torch.float64)
        for s in ((n_vectors, d), (stacked * n, d), (stacked * n, d), (stacked, d))
    )
    leaves = [t.clone().requires_grad_() for t in (w_enc, w_dec, b)]
    order = ByLatent.of(chosen)
    fast = DecodeAt.apply(EncodeAt.apply(x, leaves[0], leaves[2], chosen, order, None), leaves[1], chosen, order)
    plain = [t.clone().requires_grad_() for t in (w_enc, w_dec, b)]
    rows = torch.cat([x - plain[2][s] for s in range(stacked)])
    mask = dense(torch.ones(len(chosen.latents_E), dtype=torch.float64), chosen, len(rows))
    slow = (mask * (rows @ plain[0].T)) @ plain[1]
    assert torch.allclose(fast, slow, atol=1e-10)
    weight = torch.randn(slow.shape, generator=generator, dtype=torch.float64)
    (fast * weight).sum().backward()
    (slow * weight).sum().backward()
    for a, e in zip(leaves, plain, strict=True):
        assert torch.allclose(a.grad, e.grad, atol=1e-9)


def test_known_values_are_returned_as_given_and_products_are_dot_products():
    chosen = layout(2, 6, 9, 4, 3)
    x, w, b = torch.randn(6, 5), torch.randn(18, 5), torch.randn(2, 5)
    exact = pre_activations_at(x, w, b, chosen)
    by_hand = [(x[r % 6] - b[r // 6]) @ w[m] for r, m in zip(chosen.rows_E, chosen.latents_E, strict=True)]
    assert torch.allclose(exact, torch.stack(by_hand), atol=1e-5)
    assert torch.equal(EncodeAt.apply(x, w, b, chosen, ByLatent.of(chosen), exact + 1), exact + 1)
    assert torch.allclose(
        sddmm(x, w, torch.tensor([4, 0]), torch.tensor([17, 2])), torch.stack([x[4] @ w[17], x[0] @ w[2]])
    )


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 6),
    size=st.integers(1, 96),
    seed=st.integers(0, 10_000),
    in_order=st.booleans(),
    distinct=st.booleans(),
    data=st.data(),
)
def test_the_largest_equal_topk(rows, size, seed, in_order, distinct, data):
    k = data.draw(st.integers(1, size))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 2, size, generator=generator)
    if not distinct:
        values = values.mul(2).round()  # many ties: values must agree, and where they are must hold them
    found, at = largest(values, k, in_order)
    expected = values.topk(k, dim=-1)
    order = found if in_order else found.sort(-1, descending=True).values
    assert torch.equal(order, expected.values)
    assert torch.equal(values.gather(-1, at), found)
    assert all(len(set(row.tolist())) == k for row in at.flatten(0, 1))
