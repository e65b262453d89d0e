"""Concepts that stand for chance are others, alive, on about as often."""

import numpy as np

from concepts.matched import NEAREST, matched_concepts

DENSITIES = np.array([0.0, *np.geomspace(1e-4, 1e-1, 60)])  # concept 0 is dead, the others are on more and more


def test_each_is_drawn_from_the_nearest_densities():
    for cid in (1, 30, 60):
        drawn = {matched_concepts([cid], DENSITIES, {cid}, seed)[0] for seed in range(400)}
        nearest = sorted((c for c in range(1, 61) if c != cid), key=lambda c: (abs(c - cid), c))[:NEAREST]
        assert drawn == set(nearest)


def test_none_is_dead_forbidden_or_drawn_twice_and_the_seed_decides():
    forbidden = {29, 30, 31, 32}
    for seed in range(50):
        drawn = matched_concepts([30, 31, 32, 60], DENSITIES, forbidden, seed)
        assert len(set(drawn)) == 4 and not {0, *forbidden} & set(drawn)
        assert drawn == matched_concepts([30, 31, 32, 60], DENSITIES, forbidden, seed)
    assert len({tuple(matched_concepts([30, 60], DENSITIES, forbidden, seed)) for seed in range(50)}) > 10


def test_where_there_are_fewer_there_are_fewer():
    assert matched_concepts([1, 2, 3], np.array([0.0, 0.1, 0.2, 0.3, 0.4]), {1, 2, 3}, 0) == [4]
