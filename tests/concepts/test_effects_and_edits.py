import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from concepts.effects import (
    bootstrap_interval,
    centre_of_mass,
    change_outside,
    cluster_interval,
    region_mask,
    success_in_region,
)
from concepts.interventions import contribution, edit_direction, global_edit, random_direction, spatial_edit
from concepts.settings import REGIONS


def test_bootstrap_interval_is_about_two_standard_errors():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(values, 2000, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_cluster_interval_widens_with_the_copies_inside_a_cluster():
    values = np.random.default_rng(1).normal(size=300)
    alone = cluster_interval(values, range(300), 2000, 0)
    assert (alone[1] - alone[0]) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(300), rel=0.1)
    # Four copies of each value tell no more than one: the interval of the mean must not shrink.
    copied = cluster_interval(np.repeat(values, 4), [i // 4 for i in range(1200)], 2000, 0)
    assert np.allclose(copied, alone)
    naive = bootstrap_interval(np.repeat(values, 4), 2000, 0)
    assert naive[1] - naive[0] == pytest.approx((alone[1] - alone[0]) / 2, rel=0.1)
    # Clusters that agree: the exact binomial (Clopper-Pearson) bound for as many trials as clusters.
    none = cluster_interval(np.zeros(40), [i // 4 for i in range(40)], 100, 0)
    assert none == (0.0, pytest.approx(binomtest(0, 10).proportion_ci(0.95).high))
    assert cluster_interval(np.ones(10), range(10), 100, 0) == (pytest.approx(1 - none[1]), 1.0)
    # Differences of 1 may turn to -1 in as many clusters as the bound leaves.
    ever = cluster_interval(np.ones(10), range(10), 100, 0, (-1.0, 1.0))
    assert ever == (pytest.approx(1 - 2 * none[1]), 1.0)
    # No difference anywhere, or a share that every cluster has by design: nothing is known of a spread.
    assert np.isnan(cluster_interval(np.zeros(10), range(10), 100, 0, (-1.0, 1.0))).all()
    assert np.isnan(cluster_interval(np.array([1.0, 0, 0, 0] * 10), [i // 4 for i in range(40)], 100, 0)).all()
    # Unequal clusters: the mean is over values, not over clusters.
    low, high = cluster_interval(np.array([1.0] * 9 + [0.0]), ["a"] * 9 + ["b"], 4000, 0)
    assert (low, high) == (0.0, 1.0)


def test_regions_tile_the_image():
    total = sum(region_mask(name, 7, 9).astype(int) for name in REGIONS)
    assert (total == 1).all()
    with pytest.raises(ValueError, match="unknown region"):
        region_mask("middle", 4, 4)


def test_success_needs_something_to_be_there():
    heat = np.zeros((8, 8))
    assert centre_of_mass(heat) is None and not success_in_region(heat, region_mask("top_left", 8, 8))
    heat[1:3, 5:7] = 0.9
    assert [success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS] == [False, True, False, False]
    heat[:] = 0.3
    assert not any(success_in_region(heat, region_mask(r, 8, 8)) for r in REGIONS)


def test_change_outside_ignores_the_region():
    before, after = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    after[:2, :2] = 255
    assert change_outside(before, after, region_mask("top_left", 4, 4)) == 0
    assert change_outside(before, after, None) == pytest.approx(0.25)


def test_edits_against_loops():
    torch.manual_seed(0)
    delta, vectors = torch.randn(2, 3, 3, 5), torch.randn(7, 5)
    values, indices = torch.rand(18, 2), torch.randint(7, (18, 2))
    cids = torch.tensor([1, 4])
    removed = contribution(values, indices, vectors, cids)
    for n in range(18):
        expected = sum(
            (values[n, j] * vectors[indices[n, j]] for j in range(2) if int(indices[n, j]) in (1, 4)), torch.zeros(5)
        )
        assert torch.allclose(removed[n], expected, atol=1e-6)
    region = torch.rand(2, 3, 3) < 0.5
    direction = edit_direction(vectors[cids])
    edited = spatial_edit(delta, direction, removed.reshape(delta.shape), region, 3.0)
    change = edited - delta
    assert torch.allclose(change[region], (3.0 * direction).expand_as(change[region]), atol=1e-5)
    assert torch.allclose(change[~region], -removed.reshape(delta.shape)[~region], atol=1e-5)
    assert torch.allclose((global_edit(delta, direction, 2.0) - delta).norm(dim=-1), torch.tensor(2.0), atol=1e-5)
    assert random_direction(5, 1).norm() == pytest.approx(1.0) and direction.norm() == pytest.approx(1.0)
