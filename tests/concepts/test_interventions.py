"""Edits of a residual update: directions in closed form, planted concepts, a control of the very norm."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from concepts.edit_controls import CONCEPTS, RANDOM
from concepts.interventions import (
    ConceptEdit,
    contribution,
    edit_direction,
    global_edit,
    random_direction,
    spatial_edit,
)

IMAGES, ROWS, COLUMNS, WIDTH, LATENTS, SLOTS = 3, 2, 4, 7, 11, 3


def test_every_concept_counts_alike_in_a_direction_whatever_its_length():
    along = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 0.25]])
    assert torch.allclose(edit_direction(along), torch.tensor([1.0, 0.0, 1.0]) / math.sqrt(2))
    assert torch.allclose(edit_direction(along[1:]), torch.tensor([0.0, 0.0, 1.0]))
    # Vectors 160 degrees apart sum to little: the direction between them is of length 1 all the same.
    steep = torch.tensor([[math.cos(a), math.sin(a)] for a in np.radians([10.0, 170.0])], dtype=torch.float32)
    assert torch.allclose(edit_direction(steep), torch.tensor([0.0, 1.0]), atol=1e-6)


def test_a_concept_without_a_vector_adds_nothing():
    vectors = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert torch.allclose(edit_direction(vectors), torch.tensor([0.0, 1.0]))
    assert torch.equal(edit_direction(vectors[:1]), torch.zeros(2))
    assert torch.equal(edit_direction(torch.tensor([[0.0, 2.0], [0.0, -0.5]])), torch.zeros(2))


def test_random_directions_are_uniform_over_the_sphere():
    """On a sphere in three dimensions every coordinate is uniform between -1 and 1 (Archimedes)."""
    drawn = torch.stack([random_direction(3, seed) for seed in range(3000)]).double()
    assert torch.allclose(drawn.norm(dim=1), torch.ones(3000, dtype=torch.float64), atol=1e-6)
    oblique = drawn @ torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    for coordinate in (*drawn.T, oblique):
        assert kstest(coordinate.numpy(), "uniform", args=(-1, 2)).pvalue > 1e-3


def test_a_random_direction_hangs_on_its_seed_alone():
    torch.manual_seed(1)
    first, state = random_direction(5, 2**62 + 1), torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(random_direction(5, 2**62 + 1), first)
    assert not torch.allclose(random_direction(5, 2**62 + 2), first, atol=0.1)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)  # and draws nothing from anybody else's


def planted():
    """Concepts with orthogonal vectors of lengths 1, 2, 3, ...: what one writes is read off by a product with it."""
    return torch.eye(WIDTH) * torch.arange(1.0, WIDTH + 1)[:, None]


def test_what_planted_concepts_write_is_taken_out_and_nothing_else():
    values = torch.tensor([[0.5, 2.0, 0.0], [1.0, 3.0, 0.25]])
    latents = torch.tensor([[1, 4, 6], [4, 0, 6]])
    found = contribution(values, latents, planted(), torch.tensor([4, 6, 2]))
    expected = torch.zeros(2, WIDTH)
    expected[0, 4], expected[1, 4], expected[1, 6] = 2.0 * 5, 1.0 * 5, 0.25 * 7
    assert torch.equal(found, expected)
    assert torch.equal(contribution(values, latents, planted(), torch.tensor([], dtype=torch.int64)), torch.zeros(2, 7))


def test_a_spatial_edit_by_hand():
    """One image of 1 x 2 cells: the left one is in the region."""
    delta = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    removed = torch.tensor([[[[10.0, 20.0], [0.5, 0.25]]]])
    region = torch.tensor([[[True, False]]])
    edited = spatial_edit(delta, torch.tensor([0.6, -0.8]), removed, region, 5.0)
    assert torch.allclose(edited, torch.tensor([[[[4.0, -2.0], [2.5, 3.75]]]]))
    assert torch.allclose(
        global_edit(delta, torch.tensor([0.6, -0.8]), 5.0), torch.tensor([[[[4.0, -2.0], [6.0, 0.0]]]])
    )


def world(seed):
    """Updates of some images at one timestep, their codes in slots of different latents, and regions."""
    torch.manual_seed(seed)
    delta = torch.randn(IMAGES, ROWS, COLUMNS, WIDTH)
    cells = IMAGES * ROWS * COLUMNS
    latents = torch.stack([torch.randperm(LATENTS)[:SLOTS] for _ in range(cells)])
    values = torch.rand(cells, SLOTS) * (torch.rand(cells, SLOTS) < 0.8)
    return delta, (values, latents), torch.rand(IMAGES, ROWS, COLUMNS) < 0.5


def directions_of(control, seeds):
    """As many as seeds: the concepts' own each time or, of the control, the random one of each."""
    own = edit_direction(edit(CONCEPTS).vectors_MD[[2, 5, 7, 8]])
    return torch.stack([random_direction(WIDTH, seed) if control == RANDOM else own for seed in seeds])


def edit(control, size=2.5):
    vectors = torch.randn(LATENTS, WIDTH, generator=torch.Generator().manual_seed(9)) * 3
    return ConceptEdit(vectors, torch.tensor([2, 5, 7, 8]), size, control)


def test_the_concepts_direction_is_theirs_alone_and_the_controls_its_seeds():
    expected = edit_direction(edit(CONCEPTS).vectors_MD[[2, 5, 7, 8]])
    drawn = torch.stack([random_direction(WIDTH, seed) for seed in range(200)])
    assert drawn.shape == (200, WIDTH) and torch.equal(random_direction(WIDTH, 3), drawn[3])
    assert (drawn @ drawn.T - torch.eye(200)).max() < 0.999  # another seed, another direction
    # Random directions know nothing of the concepts: their mean cosine is zero, its variance 1 / WIDTH.
    cosines = drawn @ expected
    assert abs(float(cosines.mean())) < 4 / math.sqrt(200 * WIDTH)
    assert float(cosines.square().mean()) == pytest.approx(1 / WIDTH, rel=0.3)


@pytest.mark.parametrize("timestep", range(3))
def test_the_control_has_the_concepts_norm_in_every_cell_at_every_timestep(timestep):
    """Added in the region, taken away outside: the same length as the concepts' edit, along the image's direction."""
    delta, codes, region = world(timestep)
    changes = {}
    for control in (CONCEPTS, RANDOM):
        one = edit(control)
        directions = directions_of(control, (11, 12, 13))
        changes[control] = one.in_region(delta, codes, directions, region) - delta
    assert torch.allclose(changes[RANDOM].norm(dim=-1), changes[CONCEPTS].norm(dim=-1), atol=1e-5)
    values, latents = codes
    for image in range(IMAGES):
        direction = random_direction(WIDTH, 11 + image)
        of_concepts = edit_direction(edit(CONCEPTS).vectors_MD[[2, 5, 7, 8]])
        for row in range(ROWS):
            for column in range(COLUMNS):
                at, cell = (image, row, column), (image * ROWS + row) * COLUMNS + column
                written = torch.zeros(WIDTH)
                for value, latent in zip(values[cell], latents[cell].tolist(), strict=True):
                    if latent in (2, 5, 7, 8):
                        written += value * edit(CONCEPTS).vectors_MD[latent]
                concepts = 2.5 * of_concepts if region[at] else -written
                random = 2.5 * direction if region[at] else -float(written.norm()) * direction
                assert torch.allclose(changes[CONCEPTS][at], concepts, atol=1e-5)
                assert torch.allclose(changes[RANDOM][at], random, atol=1e-5)
    assert region.any() and not region.all() and changes[RANDOM][~region].norm(dim=-1).max() > 0.5


def test_a_global_edit_adds_each_images_direction_in_every_cell():
    delta, _, _ = world(0)
    for control in (CONCEPTS, RANDOM):
        one = edit(control, size=0.75)
        directions = directions_of(control, (1, 2, 3))
        change = one.everywhere(delta, directions) - delta
        for image in range(IMAGES):
            assert torch.allclose(change[image], (0.75 * directions[image]).expand(ROWS, COLUMNS, WIDTH), atol=1e-6)
        assert torch.allclose(change.norm(dim=-1), torch.tensor(0.75), atol=1e-5)


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM])
def test_what_comes_back_has_the_updates_precision(control):
    delta, codes, region = world(1)
    one = edit(control)
    directions = directions_of(control, range(IMAGES))
    for dtype in (torch.float64, torch.float16):
        assert one.everywhere(delta.to(dtype), directions).dtype == dtype
        assert one.in_region(delta.to(dtype), codes, directions, region).dtype == dtype


@pytest.mark.parametrize("control", [CONCEPTS, RANDOM])
@pytest.mark.parametrize("scaling", ["code_norm", "code_share"])
def test_by_the_codes_norm_an_edit_is_the_papers(scaling, control):
    """Delta + beta_ij sum_c f_c, worked out position by position; a control adds as much along its own direction."""
    vectors = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    values, latents = torch.tensor([[3.0, 4.0], [0.0, 0.0], [2.0, 0.0], [0.0, 5.0]]), torch.tensor([[0, 1]] * 4)
    delta, cids = torch.randn(1, 2, 2, 3, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1])
    edit = ConceptEdit(vectors, cids, 1.5, control, scaling)
    direction = edit_direction(vectors[cids]) if control == CONCEPTS else random_direction(3, 7)
    norms, total = [5.0, 0.0, 2.0, 5.0], 12.0
    after = edit.everywhere(delta, direction[None], (values, latents))
    placed = edit.in_region(delta, (values, latents), direction[None], torch.tensor([[[True, True], [False, True]]]))
    for cell, norm in enumerate(norms):
        row, column = divmod(cell, 2)
        beta = 1.5 * norm / (total if scaling == "code_share" else 1.0)
        added = beta * (vectors[0] + vectors[1]) if control == CONCEPTS else beta * math.sqrt(2) * direction
        assert torch.allclose(after[0, row, column], delta[0, row, column] + added, atol=1e-6)
        if cell != 2:
            assert torch.allclose(placed[0, row, column], delta[0, row, column] + added, atol=1e-6)
    written = torch.tensor([2.0, 0, 0]) if control == CONCEPTS else 2.0 * direction
    assert torch.allclose(placed[0, 1, 0], delta[0, 1, 0] - written, atol=1e-6)
