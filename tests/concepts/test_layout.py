"""Layouts against pixels counted one by one, worlds whose truth is known, and numbers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.layout import (
    METHODS,
    Fitted,
    Scored,
    Scorer,
    conceptual_map,
    cosine_scores,
    evidence_scores,
    first_images,
    fit_choice,
    fit_label,
    fit_labels,
    fit_threshold,
    ious,
    method_scores,
    position_scores,
    predict,
)

GRID, SIDE, CELL = (2, 3), (4, 6), 4  # cells of 2 x 2 pixels
CELLS = 6


def pixel_iou(cells, mask):
    """IoU of a set of cells, blown up to pixels, with a mask; 0 where neither has any."""
    drawn = np.kron(np.asarray(cells).reshape(GRID), np.ones((2, 2))).astype(bool)
    both, either = (drawn & mask).sum(), (drawn | mask).sum()
    return both / either if either else 0.0


def areas_of(masks):
    return np.array([[m[r : r + 2, c : c + 2].sum() for r in (0, 2) for c in (0, 2, 4)] for m in masks])


def quantile(values, share):
    """By the positions between sorted values."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def best_threshold(scores, masks):
    """The lowest of the best of 48 thresholds, every image and pixel looked at."""
    tried = sorted({quantile(np.ravel(scores), 0.995 * i / 47) for i in range(48)})
    means = [np.mean([pixel_iou(s >= t, m) for s, m in zip(scores, masks, strict=True)]) for t in tried]
    return tried[means.index(max(means))]


def random_images(rng, images, label="tree", first=0):
    """Masks bool [I, 4, 6], and what is scored of each."""
    masks = rng.random((images, *SIDE)) < rng.random((images, 1, 1))
    scores = rng.random((2, images, CELLS)).astype(np.float32)
    scored = [
        Scored(first + i, label, area, concepts, evidence)
        for i, (area, concepts, evidence) in enumerate(zip(areas_of(masks), *scores, strict=True))
    ]
    return masks, scored


# One image: positions and labels


def test_conceptual_map_is_the_weighted_sum_of_the_strongest_labelled_concepts():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(500, 3)).astype(np.float32)
    embeddings[4] = np.nan
    values, indices = rng.random((5, 400)), np.stack([rng.permutation(500)[:400] for _ in range(5)])
    indices[:, 7] = 4
    for top in (1, 7, 300, 399, 400, 450):
        got = conceptual_map(values, indices, embeddings, top)
        assert got.dtype == np.float32
        for cell in range(5):
            labelled = [(v, c) for v, c in zip(values[cell], indices[cell], strict=True) if c != 4]
            expected = sum(v * embeddings[c] for v, c in sorted(labelled)[-top:])
            assert np.allclose(got[cell], expected, atol=1e-4)


def test_concepts_as_strong_as_the_last_all_enter_the_map():
    got = conceptual_map(np.array([[2.0, 1.0, 1.0, 0.5]]), np.array([[0, 1, 2, 3]]), np.eye(4, dtype=np.float32), 2)
    assert got.tolist() == [[2.0, 1.0, 1.0, 0.0]]


def test_cosines_and_evidence_by_hand():
    vectors = np.array([[1.0, 0], [0, 2], [0, 0], [3e-12, 4e-12]])
    assert cosine_scores(vectors, np.array([3.0, 0])) == pytest.approx([1, 0, -1, 0.6])
    values, indices = np.array([[1.0, 3], [0, 0], [1e-11, 0]]), np.array([[0, 1], [0, 1], [1, 0]])
    assert evidence_scores(values, indices, np.array([0.4, 0.8])) == pytest.approx([0.7, 0.0, 0.8])


@pytest.fixture
def scorer():
    columns = {
        "cid": np.array([0, 0, 2]),
        "label": np.array(["tree", "sky", "sky"], object),
        "precision": np.array([0.5, 0.125, 0.75]),
        "n_hit50": np.array([1, 0, 2]),
    }
    vectors = {"sky": np.array([0.0, 1.0]), "tree": np.array([1.0, 0.0])}
    return lambda top: Scorer(columns, vectors, 4, top)


@pytest.mark.parametrize(("top", "tree", "sky"), [(2, 3 / 10**0.5, 1 / 10**0.5), (1, 1.0, 0.0)])
def test_the_scores_of_an_image_by_hand(scorer, top, tree, sky):
    """Two positions: one of concept 0 at 3 and 2 at 1, one of concept 1 alone, which has met no label."""
    values, latents = np.array([[3.0, 1.0], [2.0, 0.0]]), np.array([[0, 2], [1, 0]])
    areas = {"tree": np.array([3, 1]), "sky": np.array([0, 2])}
    first, second = scorer(top).score(17, areas, values, latents)
    assert (first.prompt_id, first.label, second.prompt_id, second.label) == (17, "tree", 17, "sky")
    assert first.area_C is areas["tree"] and second.area_C is areas["sky"]
    assert first.concepts_C == pytest.approx([tree, -1.0]) and second.concepts_C == pytest.approx([sky, -1.0])
    assert first.evidence_C.tolist() == [3 * 0.5 / 4, 0.0]
    assert second.evidence_C.tolist() == [(3 * 0.125 + 1 * 0.75) / 4, 0.0]
    assert {first.concepts_C.dtype, first.evidence_C.dtype} == {np.dtype(np.float32)}


def test_precision_is_zero_where_concept_and_label_never_met(scorer):
    assert scorer(1).precision("tree").tolist() == [0.5, 0, 0, 0]
    assert scorer(1).precision("sky").tolist() == [0.125, 0, 0.75, 0]


# IoU and thresholds


def test_iou_takes_a_cell_at_the_threshold_and_is_zero_of_nothing():
    scores, areas = np.array([[0.5, 0.4], [0.5, 0.6], [0.1, 0.2]]), np.array([[3, 1], [0, 2], [0, 0]])
    assert ious(scores, areas, 4, 0.5).tolist() == [3 / 5, 2 / 8, 0.0]
    assert ious(np.ones((1, 2)), np.array([[1, 0]]), 1, 0.5).tolist() == [1 / 2]
    assert ious(np.array([[1.0, 0.0]]), np.array([[1, 0]]), 1, 0.5).tolist() == [1.0]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(1, 7))
def test_threshold_and_iou_against_a_scan_over_pixels(seed, images):
    rng = np.random.default_rng(seed)
    masks, scores = rng.random((images, *SIDE)) < 0.3, rng.random((images, CELLS))
    areas = areas_of(masks)
    threshold = fit_threshold(scores, areas, CELL)
    assert threshold == pytest.approx(best_threshold(scores, masks), rel=1e-12)
    found = ious(scores, areas, CELL, threshold)
    assert found == pytest.approx([pixel_iou(s >= threshold, m) for s, m in zip(scores, masks, strict=True)])
    expected = [masks[:, r : r + 2, c : c + 2].mean() for r in (0, 2) for c in (0, 2, 4)]
    assert position_scores(areas, CELL) == pytest.approx(expected)


def test_of_several_ways_to_score_the_first_best_is_taken_at_its_own_threshold():
    areas = np.array([[4, 0, 0], [0, 4, 0]])
    blind, seeing, again = np.ones((2, 3)), np.array([[3.0, 1, 1], [1, 2, 1]]), np.array([[9.0, 1, 1], [1, 9, 1]])
    chosen, threshold = fit_choice([blind, seeing, again], areas, 4)
    assert chosen == 1 and threshold == fit_threshold(seeing, areas, 4) and 1 < threshold <= 2
    assert fit_choice([blind], areas, 4) == (0, 1.0)


def test_of_equally_good_thresholds_the_lowest_is_taken():
    """Of one score 0 and one 1 the quantiles are the 48 shares themselves, and all but 0 draw the mask."""
    scores = np.array([[0.0, 1.0]])
    assert fit_threshold(scores, np.array([[0, 4]]), 4) == pytest.approx(0.995 / 47)
    assert fit_threshold(scores, np.array([[4, 4]]), 4) == 0.0


def test_the_highest_threshold_draws_one_cell_in_two_hundred():
    area = np.zeros((1, 200), np.int64)
    area[0, -1] = 4
    assert fit_threshold(np.arange(200.0)[None], area, 4) == pytest.approx(0.995 * 199)


def test_one_pixel_is_enough_for_an_iou():
    assert ious(np.array([[0.5, 0.25]]), np.array([[1, 0]]), 1, 0.5).tolist() == [1.0]
    assert ious(np.array([[0.25, 0.25]]), np.array([[0, 0]]), 1, 0.5).tolist() == [0.0]


# The methods


def test_posterior_is_the_product_of_prior_and_evidence_in_exact_numbers():
    prior, concepts = np.array([0.25, 0.75]), np.array([[0.5, -1.0], [0.125, 1.0]])
    evidence, others = np.array([[0.5, 0.125], [1.0, 0.0]]), np.array([[0.25, 0.5], [0.0, 2.0]])
    found = method_scores(prior, concepts, evidence, others)
    assert {method: scores.tolist() for method, scores in found.items()} == {
        "concepts": [[0.5, -1.0], [0.125, 1.0]],
        "evidence": [[0.5, 0.125], [1.0, 0.0]],
        "posterior": [[0.125, 0.09375], [0.25, 0.0]],
        "shuffled": [[0.0625, 0.375], [0.0, 1.5]],
    }
    assert tuple(found) == METHODS


def test_the_first_images_of_each_label_are_taken():
    order = ["sky", "tree", "sky", "sky", "tree", "sea"]
    nothing = np.zeros(1)
    found = first_images([Scored(i, label, *[nothing] * 3) for i, label in enumerate(order)], 2)
    assert {label: [one.prompt_id for one in images] for label, images in found.items()} == {
        "sky": [0, 2],
        "tree": [1, 4],
        "sea": [5],
    }
    assert list(found) == ["sky", "tree", "sea"]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), images=st.integers(2, 6))
def test_what_a_label_learns_against_a_scan_over_pixels(seed, images):
    """Each method's threshold by itself; the shuffled control reads image i by the codes of i - 1, 0 by the last's."""
    masks, scored = random_images(np.random.default_rng(seed), images)
    prior = [masks[:, r : r + 2, c : c + 2].mean() for r in (0, 2) for c in (0, 2, 4)]
    scores = {method: [] for method in METHODS}
    for i in range(images):
        other = scored[i - 1 if i else images - 1]
        assert other.prompt_id != scored[i].prompt_id
        scores["concepts"].append(scored[i].concepts_C)
        scores["evidence"].append(scored[i].evidence_C)
        scores["posterior"].append([p * e for p, e in zip(prior, scored[i].evidence_C, strict=True)])
        scores["shuffled"].append([p * e for p, e in zip(prior, other.evidence_C, strict=True)])
    found = fit_label(scored, CELL)
    assert found.prior_C == pytest.approx(prior)
    assert set(found.thresholds) == set(METHODS)
    for method in METHODS:
        expected = best_threshold(np.array(scores[method]), masks)
        mine, theirs = (
            np.mean([pixel_iou(np.array(s) >= t - 1e-9, m) for s, m in zip(scores[method], masks, strict=True)])
            for t in (found.thresholds[method], expected)
        )
        assert mine == theirs  # of equals rounding may take another
        if method in ("concepts", "evidence"):
            assert found.thresholds[method] == pytest.approx(expected, rel=1e-5)
    assert np.array_equal(found.last_evidence_C, scored[-1].evidence_C)


def test_labels_in_too_few_images_learn_nothing_and_the_rest_of_many_teaches_nothing():
    rng = np.random.default_rng(0)
    scored = [one for label, n in (("tree", 5), ("sky", 3), ("sea", 2)) for one in random_images(rng, n, label)[1]]
    rng.shuffle(scored)
    found = fit_labels(scored, limit=4, minimum=3, cell_pixels=CELL)
    assert set(found) == {"tree", "sky"}
    trees = [one for one in scored if one.label == "tree"]
    expected = fit_label(trees[:4], CELL)
    assert found["tree"].thresholds == expected.thresholds != fit_label(trees, CELL).thresholds
    assert np.array_equal(found["tree"].prior_C, expected.prior_C)
    assert np.array_equal(found["tree"].last_evidence_C, trees[3].evidence_C)
    assert set(fit_labels(scored, limit=2, minimum=3, cell_pixels=CELL)) == set()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_predictions_against_a_scan_over_pixels(seed):
    """Two labels, whose images come by turns: each is read by its own prior, thresholds and codes before."""
    rng = np.random.default_rng(seed)
    worlds = {label: random_images(rng, 4, label, first) for label, first in (("tree", 0), ("sky", 100))}
    fitted = {
        label: Fitted(rng.random(CELLS), dict(zip(METHODS, rng.random(4) / 2, strict=True)), rng.random(CELLS))
        for label in worlds
    }
    turns = [one for pair in zip(worlds["tree"][1], worlds["sky"][1], strict=True) for one in pair]
    turns.insert(3, random_images(rng, 1, "unknown", 50)[1][0])
    found = predict(turns, fitted, CELL)
    assert set(found) == {"tree", "sky"}
    for label, (masks, scored) in worlds.items():
        learnt, before = fitted[label], fitted[label].last_evidence_C
        assert found[label].prompt_ids == [one.prompt_id for one in scored]
        assert set(found[label].ious) == set(METHODS)
        for number, (mask, one) in enumerate(zip(masks, scored, strict=True)):
            scores = {
                "concepts": one.concepts_C,
                "evidence": one.evidence_C,
                "posterior": learnt.prior_C * one.evidence_C,
                "shuffled": learnt.prior_C * before,
            }
            before = one.evidence_C
            for method in METHODS:
                drawn = [score >= learnt.thresholds[method] for score in scores[method]]
                assert found[label].ious[method][number] == pytest.approx(pixel_iou(drawn, mask))


# Worlds of known truth: a mask fills one of four corners of a 4 x 4 grid, four cells of four pixels


def corner(number):
    cells = np.zeros((2, 2, 2, 2), bool)
    cells[number // 2, :, number % 2, :] = True
    return cells.ravel()


def in_corner(prompt_id, number, evidence=None, label="tree"):
    there = corner(number)
    evidence = there if evidence is None else evidence
    return Scored(prompt_id, label, 4 * there, 2.0 * evidence - 1, evidence * np.ones(16))


def mean_ious(learning, tested):
    fitted = fit_labels(learning, 1000, 2, 4)
    return {method: np.mean(ious) for method, ious in predict(tested, fitted, 4)["tree"].ious.items()}


def test_perfect_evidence_draws_every_mask_and_anothers_none():
    """The shuffled control, whose codes are those of a mask elsewhere, takes the whole image, a quarter of it right."""
    learning = [in_corner(i, i % 4) for i in range(40)]
    found = mean_ious(learning, [in_corner(i, (3 * i) % 4) for i in range(20)])
    assert found == {"concepts": 1.0, "evidence": 1.0, "posterior": 1.0, "shuffled": 0.25}


def test_where_only_position_tells_anything_the_posterior_is_the_prior():
    flat = np.ones(16)
    found = mean_ious([in_corner(i, 2, flat) for i in range(9)], [in_corner(i, 2, flat) for i in range(7)])
    assert found == {"concepts": 0.25, "evidence": 0.25, "posterior": 1.0, "shuffled": 1.0}


def test_the_control_reads_each_image_by_the_one_before_it_and_never_by_its_own():
    """Its first image is read by the last that was learnt from, and another label's images in between do not matter."""
    learnt = Fitted(np.ones(16), dict.fromkeys(METHODS, 0.5), 1.0 * corner(0))
    corners = {"tree": (0, 1, 1, 3, 0), "sky": (2, 2, 0, 0, 1)}
    turns = [in_corner(i, corners[label][i], label=label) for i in range(5) for label in corners]
    found = predict(turns, {"tree": learnt, "sky": learnt}, 4)
    for label in corners:
        assert found[label].ious["posterior"] == found[label].ious["concepts"] == [1.0] * 5
    assert found["tree"].ious["shuffled"] == [1, 0, 1, 0, 0] and found["sky"].ious["shuffled"] == [0, 1, 0, 1, 0]
