"""Matches between times against counting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from concepts.matching import Candidates, CoActivation, best_matches, beyond_other_seed, cosines, firing, match_rows

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


def test_positions_where_fewer_fire_than_elsewhere_count_what_is_on_alone():
    """Of five concepts 0 and 4 are on at the first position, 3 alone at the second, none at the third."""
    on = firing(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]), np.array([[0, 4], [3, 2], [1, 2]]), 5)
    counts = CoActivation(5, 5, with_shuffled=False)
    counts.add(on, on, 3)
    assert {tuple(pair) for pair in np.argwhere(counts.both)} == {(0, 0), (0, 4), (4, 0), (4, 4), (3, 3)}
    assert counts.both.max() == 1


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
    rows = match_rows(Candidates(cosines(vectors, second), counts), shared=False)
    assert {row["cid_from"] for row in rows} == set(range(5))
    for row in rows:
        assert row["cid_to"] == order[row["cid_from"]] and row["mutual"]
        assert row["cosine"] == pytest.approx(1) and row["coactivation"] == 1.0
        assert row["coactivation_shuffled"] < 0.6 and row["n_both"] > 0


def test_a_shared_sae_is_matched_to_itself():
    rng = np.random.default_rng(1)
    counts = CoActivation(5, 5)
    counts.add(firing(*codes(rng, 9, 5), 5), firing(*codes(rng, 9, 5), 5), CELLS)
    rows = match_rows(Candidates(np.eye(5), counts), shared=True)
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
    rows = match_rows(Candidates(np.array([[1.0, 0.25]]), counts), shared=False)
    assert [(row["chosen_by"], row["cid_to"], row["cosine"]) for row in rows] == [
        ("cosine", 1, 0.25),
        ("coactivation", 1, 0.25),
    ]
    assert [(row["coactivation"], row["coactivation_shuffled"]) for row in rows] == [(1.0, 0.0)] * 2


def two_times(seed, n=5, prompts=12, d=4):
    """Concept vectors and codes of an SAE, of the next time's, and of the next time's of another seed, drawn."""
    rng = np.random.default_rng(seed)
    vectors = [rng.normal(size=(n, d)) for _ in range(3)]
    made = [codes(rng, prompts, n if number else n - 1) for number in range(3)]  # concept n - 1 of the first is dead
    made[2][0][made[2][1] == 0] = 0  # and concept 0 of the other seed's
    return vectors, made


def candidates(vectors, made, to, **more):
    n = len(vectors[0])
    counts = CoActivation(n, n, **more)
    counts.add(firing(*made[0], n), firing(*made[to], n), CELLS)
    return Candidates(cosines(vectors[0], vectors[to]), counts)


def cosine_by_hand(vectors, to, a, b):
    x, y = vectors[0][a], vectors[to][b]
    return x @ y / (x @ x * (y @ y)) ** 0.5


def jaccard_by_hand(made, to, a, b):
    here, there = on(*made[0], a), on(*made[to], b)
    return (here & there).sum() / max((here | there).sum(), 1)


@pytest.mark.parametrize("seed", range(12))
def test_the_other_seeds_partner_is_found_as_the_partner_is(seed):
    vectors, made = two_times(seed)
    rows = match_rows(candidates(vectors, made, 1), False, candidates(vectors, made, 2, with_shuffled=False))
    assert len(rows) == 2 * 4
    for row in rows:
        for to, end in ((1, ""), (2, "_other_seed")):
            alive = [b for b in range(5) if on(*made[to], b).any()]

            def score(a, b, by=row["chosen_by"], to=to, alive=tuple(alive)):
                if by == "coactivation":
                    return jaccard_by_hand(made, to, a, b)
                return cosine_by_hand(vectors, to, a, b) if b in alive else -np.inf

            a = row["cid_from"]
            best = max(range(5), key=lambda b: score(a, b))
            assert row[f"cosine{end}"] == pytest.approx(cosine_by_hand(vectors, to, a, best))
            assert row[f"coactivation{end}"] == pytest.approx(jaccard_by_hand(made, to, a, best))
            assert row[f"mutual{end}"] == (max(range(5), key=lambda b: score(b, best)) == a)


@pytest.mark.parametrize("seed", range(6))
def test_two_seeds_of_a_shared_sae_are_paired_one_to_one(seed):
    """Against all 120 ways to pair them."""
    vectors, made = two_times(seed)
    shared = [vectors[0], vectors[0], vectors[2]]
    own, other = candidates(shared, made, 1), candidates(shared, made, 2, with_shuffled=False)
    everywhere = list(itertools.permutations(range(5)))
    best = max(everywhere, key=lambda order: sum(cosine_by_hand(shared, 2, a, b) for a, b in enumerate(order)))
    near = np.array([[cosine_by_hand(shared, 2, a, b) for b in range(5)] for a in range(5)])
    rows = match_rows(own, True, other)
    assert [row["cid_from"] for row in rows] == [0, 1, 2, 3]
    for row in rows:
        a = row["cid_from"]
        b = best[a]
        assert row["cosine"] == pytest.approx(1) and row["cosine_other_seed"] == pytest.approx(near[a, b])
        assert row["coactivation"] == pytest.approx(jaccard_by_hand(made, 1, a, a))
        assert row["coactivation_other_seed"] == pytest.approx(jaccard_by_hand(made, 2, a, b))
        assert row["mutual_other_seed"] == (near[a].argmax() == b and near[:, b].argmax() == a)


def test_without_another_seed_its_columns_are_null_and_the_control_is_counted_only_if_asked_for():
    vectors, made = two_times(0)
    rows = match_rows(candidates(vectors, made, 1), False)
    assert {row[f"{name}_other_seed"] for row in rows for name in ("cosine", "coactivation", "mutual")} == {None}
    assert beyond_other_seed(rows) == []
    without = candidates(vectors, made, 1, with_shuffled=False).counts
    assert np.array_equal(without.both, candidates(vectors, made, 1).counts.both) and without.shuffled.size == 0
    assert candidates(vectors, made, 1).counts.shuffled.any()


def compared(rng, count, **about):
    """Rows of concept_matches with the columns that are compared, drawn."""
    return [
        {
            "block": "mid",
            "conditioning": "cond",
            "k": 10,
            "t_from": 1.0,
            "t_to": 0.5,
            "kind": "trained",
            "chosen_by": "cosine",
            "cid_from": cid,
            "mutual": rng.random() < 0.8,
            "mutual_other_seed": rng.random() < 0.3,
            "cosine": rng.random(),
            "cosine_other_seed": rng.random(),
            "coactivation": rng.random(),
            "coactivation_other_seed": rng.random() / 2,
            **about,
        }
        for cid in range(count)
    ]


def test_the_difference_to_the_other_seed_has_the_interval_of_a_paired_t_test():
    rng = np.random.default_rng(0)
    groups = [
        compared(rng, 40),
        compared(rng, 7, block="up", chosen_by="coactivation"),
        compared(rng, 30, kind="shared", chosen_by="identity", t_from=0.5, t_to=0.0),
        compared(rng, 1, k=20),
    ]
    apart = compared(rng, 9, conditioning="uncond", cosine_other_seed=None)
    mixed = [row for group in [*groups, apart] for row in group]
    rng.shuffle(mixed)
    found = {(row["block"], row["k"], row["kind"]): row for row in beyond_other_seed(mixed)}
    assert len(found) == len(groups)
    for group in groups:
        row = found[group[0]["block"], group[0]["k"], group[0]["kind"]]
        assert row["n"] == len(group)
        assert all(row[name] == group[0][name] for name in ("conditioning", "t_from", "t_to", "chosen_by"))
        for measure in ("cosine", "coactivation", "mutual"):
            own, other = ([float(one[measure + end]) for one in group] for end in ("", "_other_seed"))
            assert row[measure] == pytest.approx(sum(own) / len(own))
            assert row[f"{measure}_other_seed"] == pytest.approx(sum(other) / len(other))
            assert row[f"{measure}_beyond"] == pytest.approx(sum(own) / len(own) - sum(other) / len(other))
            ends = (row[f"{measure}_ci_low"], row[f"{measure}_ci_high"])
            if len(group) == 1:
                assert ends == (None, None)
            else:
                assert ends == pytest.approx(tuple(ttest_rel(own, other).confidence_interval(0.95)))
