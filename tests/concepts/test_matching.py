"""Matches between times against counting by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.matching import CoActivation, best_matches, cosines, firing, match_rows

CELLS, K = 4, 2


def codes(rng, prompts, n):
    values = rng.random((prompts, CELLS, K)) * (rng.random((prompts, CELLS, K)) < 0.7)
    latents = np.stack([[rng.permutation(n)[:K] for _ in range(CELLS)] for _ in range(prompts)])
    return values, latents


def on(values, latents, cid):
    return ((latents == cid) & (values > 0)).any(-1)  # [prompts, cells]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_counts_equal_a_loop_and_do_not_depend_on_how_prompts_are_grouped_but_for_the_control(seed, sizes):
    rng = np.random.default_rng(seed)
    n = 5
    groups = [(codes(rng, size, n), codes(rng, size, n)) for size in sizes]
    counts = CoActivation(n, n)
    for first, second in groups:
        counts.add(firing(*first, n), firing(*second, n), CELLS)
    for a in range(n):
        assert counts.n_from[a] == sum(on(*first, a).sum() for first, _ in groups)
        for b in range(n):
            assert counts.both[a, b] == sum((on(*f, a) & on(*s, b)).sum() for f, s in groups)
            rolled = [np.roll(on(*s, b), 1, axis=0) for _, s in groups]
            assert counts.shuffled[a, b] == sum((on(*f, a) & r).sum() for (f, _), r in zip(groups, rolled, strict=True))
    jaccard = counts.jaccard(counts.both)
    assert ((jaccard >= 0) & (jaccard <= 1)).all()


def test_a_permuted_copy_is_matched_by_both_measures_and_dead_latents_by_nobody():
    rng = np.random.default_rng(0)
    n, order = 6, np.array([3, 0, 5, 1, 4, 2])
    vectors = rng.normal(size=(n, 8))
    values, latents = codes(rng, 40, n - 1)  # latent 5 never fires
    permuted = order[latents]
    counts = CoActivation(n, n)
    counts.add(firing(values, latents, n), firing(values, permuted, n), CELLS)
    second = np.empty_like(vectors)
    second[order] = 2.5 * vectors
    rows = match_rows(counts, cosines(vectors, second), shared=False)
    assert {row["cid_from"] for row in rows} == set(range(5))
    for row in rows:
        assert row["cid_to"] == order[row["cid_from"]] and row["mutual"]
        assert row["cosine"] == pytest.approx(1) and row["coactivation"] == 1.0
        assert row["coactivation_shuffled"] < 0.6 and row["n_both"] > 0


def test_a_shared_sae_is_matched_to_itself():
    rng = np.random.default_rng(1)
    counts = CoActivation(5, 5)
    counts.add(firing(*codes(rng, 9, 5), 5), firing(*codes(rng, 9, 5), 5), CELLS)
    rows = match_rows(counts, np.eye(5), shared=True)
    assert [(r["cid_from"], r["cid_to"], r["chosen_by"]) for r in rows] == [(i, i, "identity") for i in range(5)]
    assert all(row["mutual"] for row in rows)


def test_mutual_means_each_is_the_others_best():
    match = best_matches(np.array([[0.9, 0.1], [0.8, 0.2]]), "cosine")
    assert match.cid_to.tolist() == [0, 0] and match.mutual.tolist() == [True, False]
    assert cosines(np.zeros((1, 3)), np.ones((1, 3)))[0, 0] == 0


def test_cosines_are_of_directions_however_short_the_vectors():
    first, second = np.array([[3e-6, 4e-6], [0.1, 0.0]]), np.array([[0.0, 2e-3], [5.0, 0.0]])
    assert cosines(first, second) == pytest.approx(np.array([[0.8, 0.6], [0.0, 1.0]]))


def test_a_concept_that_fires_once_is_alive_and_one_that_never_does_is_no_partner():
    """Concept 0 fires once; of the next time's two 0 is dead and has its direction, 1 fires once, at the same place."""
    counts = CoActivation(1, 2)
    counts.add(
        firing(np.array([[1.0], [0.0]]), np.array([[0], [0]]), 1),
        firing(np.array([[1.0], [0.0]]), np.array([[1], [1]]), 2),
        1,
    )
    rows = match_rows(counts, np.array([[1.0, 0.25]]), shared=False)
    assert [(row["chosen_by"], row["cid_to"], row["cosine"]) for row in rows] == [
        ("cosine", 1, 0.25),
        ("coactivation", 1, 0.25),
    ]
    assert [(row["coactivation"], row["coactivation_shuffled"]) for row in rows] == [(1.0, 0.0)] * 2
