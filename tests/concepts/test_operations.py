"""Operations of an edit, each against the sum over concepts written out position by position."""

import numpy as np
import pytest
import torch

from concepts.operations import ablate, activation_levels, add, clamp, ones, replace, schedule

B, H, W, D, M, K = 2, 2, 3, 5, 7, 3
CIDS = torch.tensor([1, 4])


@pytest.fixture
def given():
    """delta, codes of it, vectors, a direction of each image, and a share of 0, 1 and in between."""
    generator = torch.Generator().manual_seed(5)
    delta = torch.randn(B, H, W, D, generator=generator)
    values = torch.rand(B * H * W, K, generator=generator)
    latents = torch.stack([torch.randperm(M, generator=generator)[:K] for _ in range(B * H * W)])
    vectors = torch.randn(M, D, generator=generator)
    directions = torch.nn.functional.normalize(torch.randn(B, D, generator=generator), dim=1)
    share = torch.tensor([[0.0, 1.0, 0.25], [1.0, 0.5, 0.0]]).expand(B, H, W)
    return delta, (values, latents), vectors, directions, share


def code_of(codes, position, cid):
    """A concept's code at a position: 0 where it is not among the K."""
    values, latents = codes
    return sum(float(v) for v, c in zip(values[position], latents[position], strict=True) if int(c) == cid)


def by_hand(given, change):
    """delta + share * change(position, image), position by position."""
    delta, _, _, _, share = given
    out = delta.clone()
    for b in range(B):
        for row in range(H):
            for column in range(W):
                position = (b * H + row) * W + column
                out[b, row, column] += share[b, row, column] * change(position, b)
    return out


def test_adding(given):
    delta, _, _, directions, share = given
    expected = by_hand(given, lambda position, b: 3.0 * directions[b])
    assert torch.allclose(add(delta, directions, 3.0, share), expected, atol=1e-6)
    assert torch.allclose(add(add(delta, directions, 3.0, share), directions, -3.0, share), delta, atol=1e-5)
    assert torch.equal(add(delta, directions, 0.0, share), delta)


def test_ablating_takes_what_the_concepts_write(given):
    delta, codes, vectors, _, share = given

    def taken(position, _b):
        return -sum(code_of(codes, position, int(c)) * vectors[int(c)] for c in CIDS)

    assert torch.allclose(ablate(delta, codes, vectors, CIDS, share), by_hand(given, taken), atol=1e-5)


def test_replacing_adds_as_much_as_it_takes(given):
    delta, codes, vectors, directions, share = given

    def swapped(position, b):
        written = sum(code_of(codes, position, int(c)) * vectors[int(c)] for c in CIDS)
        return (written.norm() if isinstance(written, torch.Tensor) else 0.0) * directions[b] - written

    made = replace(delta, codes, vectors, CIDS, directions, share)
    assert torch.allclose(made, by_hand(given, swapped), atol=1e-5)


def test_clamping_sets_every_code_to_its_level(given):
    delta, codes, vectors, _, share = given
    levels = torch.tensor([0.5, 2.0])

    def moved(position, _b):
        return sum(
            (float(level) - code_of(codes, position, int(c))) * vectors[int(c)]
            for c, level in zip(CIDS, levels, strict=True)
        )

    assert torch.allclose(clamp(delta, codes, vectors, CIDS, levels, share), by_hand(given, moved), atol=1e-5)


def test_nothing_is_done_where_the_share_is_nothing(given):
    delta, codes, vectors, directions, _ = given
    nowhere = torch.zeros(B, H, W)
    for made in (
        add(delta, directions, 9.0, nowhere),
        ablate(delta, codes, vectors, CIDS, nowhere),
        replace(delta, codes, vectors, CIDS, directions, nowhere),
        clamp(delta, codes, vectors, CIDS, torch.ones(2), nowhere),
    ):
        assert torch.equal(made, delta)
    assert torch.equal(ones(delta), torch.ones(B, H, W))


def test_levels_are_quantiles_of_what_a_concept_does_where_it_is_on():
    values = np.array([[1.0, 0.0], [3.0, 5.0], [2.0, 9.0]])
    latents = np.array([[4, 6], [4, 6], [4, 1]])
    assert activation_levels(values, latents, [4, 6, 5], 0.5).tolist() == [2.0, 5.0, 0.0]
    assert activation_levels(values, latents, [4], 1.0).tolist() == [3.0]
    with pytest.raises(ValueError, match=r"quantile is 1.5"):
        activation_levels(values, latents, [4], 1.5)


def test_a_schedule_is_linear_between_its_points():
    points = [(0.6, 1.0), (0.2, 0.0)]
    assert [schedule(points, t) for t in (1.0, 0.6, 0.5, 0.2, 0.0)] == pytest.approx([1, 1, 0.75, 0, 0])
    assert schedule([(0.5, 2.0)], 0.9) == 2.0
