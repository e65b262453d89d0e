"""p-values against scipy and against chance itself, q-values against a loop and scipy, the two rules."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, gamma, hypergeom

from concepts.evidence import (
    copresence_tail,
    copresent_iou,
    expected_inter,
    iou_of,
    p_values,
    pair_sums,
    permuted_overlap,
    place_tail,
    q_values,
)
from concepts.label_table import label_table, labels_met, top_labels, worth_keeping
from concepts.overlap import OverlapStats, cell_areas, where_on
from concepts.settings import LabelSettings


@settings(max_examples=100, deadline=None)
@given(data=st.data(), images=st.integers(1, 300))
def test_copresence_tail_is_the_hypergeometric_one(data, images):
    with_label = data.draw(st.integers(0, images))
    n = np.array(data.draw(st.lists(st.integers(0, images), min_size=1, max_size=8)))
    both = np.array([data.draw(st.integers(max(0, with_label + v - images), min(with_label, v))) for v in n])
    found = copresence_tail(both, images, with_label, n)
    exact = hypergeom.sf(both - 1, images, with_label, n)
    above = both * images > with_label * n
    assert found[above] == pytest.approx(exact[above], rel=1e-8)
    assert (found[~above] == 1).all()


@settings(max_examples=60, deadline=None)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=30), extra=st.integers(0, 50))
def test_q_values_are_benjamini_and_hochbergs(p, extra):
    whole = np.array(p + [1.0] * extra)
    assert q_values(np.array(p), len(whole)) == pytest.approx(false_discovery_control(whole)[: len(p)])


def test_nothing_tested_has_no_q_value():
    assert q_values(np.zeros(0), 5).tolist() == []


def test_as_many_images_as_chance_gives_are_no_discovery():
    assert copresence_tail(np.array([5, 6]), 20, 10, np.array([10, 10])).tolist() == [
        1.0,
        pytest.approx(hypergeom.sf(5, 20, 10, 10)),
    ]


def summed(images, pixels=1):
    """Statistics of a grid of one row, from (prompt id, cells that are on, pixels of the tree in each cell)."""
    stats = OverlapStats(1, (1, len(images[0][2])), pixels)
    for prompt_id, on, area in images:
        stats.add(prompt_id, (np.zeros(len(on), int), np.array(on, int)), {"tree": np.array(area)})
    return stats


def test_one_pixel_is_enough_for_every_ratio():
    stats = summed([(0, [1], [0, 1])])
    for halves in ((0,), (0, 1)):
        found = iou_of(stats, "tree", halves)
        assert (found.value.tolist(), found.error.tolist()) == ([1.0], [0.0])
        assert expected_inter(stats, "tree", halves).tolist() == [1.0]
    assert copresent_iou(stats, "tree").tolist() == [1.0]
    chance = permuted_overlap(stats, "tree")
    assert (chance.mean.tolist(), chance.variance.tolist()) == ([1.0], [0.0])


def test_a_half_without_images_says_nothing():
    stats = summed([(1, [1], [0, 1]), (3, [0], [0, 1])])
    with np.errstate(all="raise"):
        found = iou_of(stats, "tree", (0,))
        assert (found.value.tolist(), found.error.tolist()) == ([0.0], [0.0])
        assert expected_inter(stats, "tree", (0,)).tolist() == [0.0]
        chance = permuted_overlap(stats, "tree")
        assert (chance.mean.tolist(), chance.variance.tolist()) == ([0.0], [0.0])
        assert np.isnan(place_tail(stats, "tree")).all() and p_values(stats, "tree").tolist() == [1.0]


def test_a_p_value_is_five_times_the_smallest_of_five_tails():
    """Concept and label are in the same 5 of 20 images: of C(20, 5) choices of images one does that."""
    stats = summed([(2 * i, [0] if i < 5 else [], [1, 0] if i < 5 else [0, 0]) for i in range(20)])
    assert np.isnan(place_tail(stats, "tree")).all()
    assert p_values(stats, "tree")[0] == pytest.approx(5 / 15_504)


@pytest.mark.parametrize(("present", "tested"), [(20, True), (19, False)])
def test_places_are_tested_where_chance_gives_both_to_ten_images(present, tested):
    """The tree is in 10 of 20 images, so that chance gives half of the concept's images a tree."""
    rng = np.random.default_rng(0)
    images = [
        (2 * i, [rng.integers(3)] if i < present else [], (i % 2) * np.eye(3, dtype=int)[i % 3]) for i in range(20)
    ]
    assert np.isfinite(place_tail(summed(images), "tree")[0]) == tested


@pytest.mark.parametrize("without", [20, 21])
def test_the_tail_of_places_is_a_gamma_distributions_of_the_same_moments(without):
    """A concept that one image lacks, and a pixel in half of the images: the overlap is hypergeometric, 11 or 10."""
    images = [(2 * i, [] if i == without else [0], [i % 2, 0]) for i in range(22)]
    exact = hypergeom(22, 21, 11)
    mean, variance, overlap = exact.mean(), exact.var(), 10 if without % 2 else 11
    assert 0 < variance < 1
    found = place_tail(summed(images), "tree")[0]
    assert found == pytest.approx(gamma.sf(overlap, mean**2 / variance, scale=variance / mean))


def test_q_values_by_hand():
    """Of ten hypotheses three are listed: 10 p / rank, and of a worse rank's smaller value the smaller."""
    assert q_values(np.array([0.01, 0.04, 0.03]), 10) == pytest.approx([0.1, 0.4 / 3, 0.4 / 3])
    assert q_values(np.array([0.01, 0.04, 0.03]), 3) == pytest.approx([0.03, 0.04, 0.04])
    assert q_values(np.array([0.5, 0.4]), 4).tolist() == [1.0, 1.0] and q_values(np.zeros(0), 7).tolist() == []


def stats_of(images, grid=(2, 2), cell=4, n=2):
    """From (prompt id, concept -> its cells, label -> pixels in each cell)."""
    stats = OverlapStats(n, grid, cell)
    for prompt_id, on, areas in images:
        pairs = sorted((concept, place) for concept, places in on.items() for place in places)
        on_E = tuple(np.array(pairs, np.int64).reshape(-1, 2).T)
        stats.add(prompt_id, on_E, {label: np.array(area) for label, area in areas.items()})
    return stats


def test_iou_and_its_error_by_hand():
    """Concept 0 over four images: I 4, 2, 0 and 0 of U 8, 6, 4 and 3; the first two are of the selection half."""
    stats = stats_of(
        [
            (0, {0: [0, 1]}, {"tree": [4, 0, 0, 0]}),
            (2, {0: [0]}, {"tree": [2, 2, 0, 0]}),
            (1, {0: [3]}, {}),
            (3, {}, {"tree": [0, 0, 3, 0]}),
        ]
    )
    for halves, inter, union in (((0, 1), [4, 2, 0, 0], [8, 6, 4, 3]), ((0,), [4, 2], [8, 6]), ((1,), [0, 0], [4, 3])):
        found, ratio = iou_of(stats, "tree", halves), sum(inter) / sum(union)
        error = sum((i - ratio * u) ** 2 for i, u in zip(inter, union, strict=True)) ** 0.5 / sum(union)
        assert (found.value[0], found.error[0]) == pytest.approx((ratio, error))
    assert iou_of(stats, "tree").value[0] == 6 / 21 and iou_of(stats, "tree").value[1] == 0
    assert copresent_iou(stats, "tree")[0] == 6 / 14 and np.isnan(copresent_iou(stats, "tree")[1])
    # On in cells 0, 1 and 3 in 2, 1 and 1 of 4 images; 6, 2, 3 and 0 pixels of tree in the cells.
    assert expected_inter(stats, "tree").tolist() == [(2 * 6 + 1 * 2) / 4, 0]
    assert expected_inter(stats, "tree", (0,)).tolist() == [(2 * 6 + 1 * 2) / 2, 0]


@pytest.mark.parametrize(
    ("few", "many"), [(0, 1), (0, 3), (1, 3), (1, 4), (3, 5), (4, 15), (15, 16), (4, 63), (16, 63), (63, 64)]
)
def test_p_is_five_times_the_smallest_tail(few, many):
    """Of ten images five have the label, and in these the concept has ``many`` cells, else ``few``: 1 / C(10, 5).

    A level between the two can tell, and without one there is no evidence. Chance gives both to five images, which are
    too few for the test of places.
    """
    stats = stats_of(
        [(2 * i, {0: range(many if i % 2 else few)}, {"tree": [4] * 64} if i % 2 else {}) for i in range(10)],
        (8, 8),
    )
    told = any(few < level <= many for level in (1, 4, 16, 64))
    assert p_values(stats, "tree") == pytest.approx([5 / 252 if told else 1.0, 1.0])


def test_p_is_never_more_than_one():
    """Of four images two have the label and, of these, one the concept, and no other: 1/2, times five."""
    images = [(2 * i, {0: [0]} if i == 0 else {}, {"tree": [1, 0, 0, 0]} if i < 2 else {}) for i in range(4)]
    assert p_values(stats_of(images), "tree").tolist() == [1.0, 1.0]


def moving(images, with_concept, rng):
    """The label is always there and moves; the concept, in the first ``with_concept`` images, is where it is."""
    found = []
    for i in range(images):
        at = rng.permutation(9)[: rng.integers(1, 5)]
        area = np.zeros(9, int)
        area[at] = rng.integers(1, 5, len(at))
        found.append((2 * i, {0: at[: 1 + len(at) // 2]} if i < with_concept else {}, {"tree": area}))
    return found


def test_the_tail_of_places_is_the_gamma_of_all_deals():
    """Mean and variance from every pair of images (Hoeffding 1951), and scipy's tail of them; times five it is p."""
    images = moving(24, 15, np.random.default_rng(0))
    met = np.array([[sum(area["tree"][c] for c in on.get(0, ())) for _, _, area in images] for _, on, _ in images])
    mean = met.sum() / 24
    moved = met - met.mean(0) - met.mean(1)[:, None] + met.mean()
    variance = np.square(moved).sum() / 23
    expected = gamma.sf(np.trace(met), a=mean**2 / variance, scale=variance / mean)
    stats = stats_of(images, (3, 3))
    found = place_tail(stats, "tree")
    assert found[0] == pytest.approx(expected) and expected < 0.01 and np.isnan(found[1])
    assert p_values(stats, "tree") == pytest.approx([5 * expected, 1.0])


def world(rng, images, linked):
    """Concepts 0-19 at random; with ``linked``, concept 0 fires where the tree is."""
    stats = OverlapStats(20, (4, 4), 16)
    for prompt_id in range(images):
        mask = np.zeros((16, 16), bool)
        if rng.random() < 0.5:
            y, x = rng.integers(0, 3, 2) * 4
            mask[y : y + 7, x : x + 7] = True
        values = np.ones((16, 2), np.float32) * (rng.random((16, 2)) < 0.15)
        latents = np.stack([1 + rng.permutation(19)[:2] for _ in range(16)])
        if linked:
            inside = cell_areas(mask, (4, 4)) > 0
            latents[inside, 0], values[inside, 0] = 0, 1.0
        stats.add(
            prompt_id, where_on(values, latents, np.ones(20, np.float32), 0.1), {"tree": cell_areas(mask, (4, 4))}
        )
    return stats


@pytest.mark.slow
def test_without_a_link_discoveries_are_as_rare_as_promised():
    """200 worlds of pure chance: p-values are at most what a uniform one would be, and few worlds have a discovery."""
    p, discoveries = [], 0
    for seed in range(200):
        found = p_values(world(np.random.default_rng(seed), 80, linked=False), "tree")[1:]
        p.append(found)
        discoveries += bool((q_values(found, len(found)) <= 0.05).any())
    p = np.concatenate(p)
    assert (p <= 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(p))
    assert discoveries <= 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    grid=st.sampled_from([(1, 1), (2, 3), (4, 4), (9, 3), (16, 16)]),
    images=st.integers(2, 5),
)
def test_the_moments_of_a_dealt_overlap_are_those_of_all_permutations(seed, grid, images):
    """Every one of the N! ways tried; a fine grid is pooled to 8 places a side first, as the statistic itself is."""
    rng = np.random.default_rng(seed)
    cells = grid[0] * grid[1]
    areas = rng.integers(0, 5, (images, cells)) * (rng.random((images, 1)) < 0.8)
    on = rng.random((images, 3, cells)) < rng.random((1, 3, 1))
    stats = OverlapStats(3, grid, 4)
    for i in range(images):
        stats.add(2 * i, np.nonzero(on[i]), {"tree": areas[i]})
        stats.add(2 * i + 1, np.nonzero(on[i, :, ::-1]), {"tree": areas[0]})  # the held-out half must not matter
    if "tree" not in stats.labels:
        return
    rows, columns = (np.arange(side) * min(side, 8) // side for side in grid)
    places = (rows[:, None] * min(grid[1], 8) + columns).ravel()
    onto = np.eye(places.max() + 1)[places]
    chance, found = permuted_overlap(stats, "tree"), pair_sums(stats, "tree", (0,))["meeting"]
    for cid in range(3):
        met = (on[:, cid] @ onto) @ (areas @ onto).T
        every = np.array([met[np.arange(images), list(order)].sum() for order in permutations(range(images))])
        assert found[cid] == np.trace(met)
        assert chance.mean[cid] == pytest.approx(every.mean())
        assert chance.variance[cid] == pytest.approx(every.var(), abs=1e-6)


def placed(rng, present):
    """Row and column ranges of a square in a 6 x 6 grid, more often below than above, or None."""
    if rng.random() >= present:
        return None
    side = rng.integers(1, 4)
    top, left = int(rng.beta(4, 2) * (7 - side)), rng.integers(0, 7 - side)
    return slice(top, top + side), slice(left, left + side)


@pytest.mark.parametrize("present", [1.0, 0.5])
def test_the_test_of_places_is_as_large_as_it_says(present):
    """Concepts and a label that like the same places, and know nothing of each other: p <= 0.05 in 5 % of cases."""
    p = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        stats = OverlapStats(10, (6, 6), 16)
        for number in range(60):
            on, area = np.zeros((10, 6, 6), bool), np.zeros((6, 6), np.int64)
            for cid in range(10):
                if at := placed(rng, present):
                    on[cid][at] = True
            if at := placed(rng, present):
                area[at] = rng.integers(4, 17)
            stats.add(2 * number, np.nonzero(on.reshape(10, 36)), {"tree": area.ravel()})
        p.append(place_tail(stats, "tree"))
    p = np.concatenate(p)
    assert np.isfinite(p).mean() > 0.9
    p = p[np.isfinite(p)]
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / len(p)))
    assert (p <= 0.005).mean() <= 0.005 + 3 * np.sqrt(0.005 * 0.995 / len(p))


def test_what_is_always_there_and_moves_together_is_found_by_places_alone():
    rng = np.random.default_rng(0)
    stats = OverlapStats(2, (6, 6), 16)
    for number in range(40):
        horizon, other = rng.integers(2, 6, 2)
        below = np.repeat(np.arange(6) >= horizon, 6)
        on = np.stack([below, np.repeat(np.arange(6) >= other, 6)])
        stats.add(2 * number, np.nonzero(on), {"grass": 16 * below.astype(np.int64)})
    found = p_values(stats, "grass")
    assert found[0] < 1e-6 and found[1] > 0.1
    still = OverlapStats(1, (6, 6), 16)
    for number in range(40):
        still.add(2 * number, np.nonzero(np.ones((1, 36), bool)), {"grass": 16 * np.ones(36, np.int64)})
    with np.errstate(all="raise"):
        assert p_values(still, "grass")[0] == 1.0  # nothing moves, so nothing can be told


def test_the_held_out_half_decides_nothing():
    """With other images in it the same pairs are assigned, and each concept keeps its first label."""

    def halves(heldout):
        stats = world(np.random.default_rng(0), 120, linked=True)
        other = world(np.random.default_rng(1), 120, linked=heldout)
        stats.pairs["tree"][1] = other.pairs["tree"][1]
        for name in ("on", "on2", "on_images", "on_cells", "images"):
            getattr(stats, name)[1] = getattr(other, name)[1]
        for name in ("pixels", "images", "cells"):
            getattr(stats.labels["tree"], name)[1] = getattr(other.labels["tree"], name)[1]
        return label_table(stats, LabelSettings())

    linked, unlinked = halves(True), halves(False)

    def decided(table):
        return [table.columns["label"][row] for row in top_labels(table).values()], sorted(
            table.columns["cid"][table.columns["assigned"]]
        )

    assert decided(linked) == decided(unlinked) == (["tree"], [0])
    assert labels_met(linked, LabelSettings()) == labels_met(unlinked, LabelSettings())
    heldout = {t: table.columns["iou_heldout"][table.columns["cid"] == 0] for t, table in ((1, linked), (0, unlinked))}
    assert heldout[1] > 0.5 > heldout[0]


def test_a_concepts_first_label_is_the_selection_halfs():
    """Sky is the better label of all images, tree that of the half that chooses."""
    stats = OverlapStats(1, (4, 4), 16)
    full, half = np.full(16, 16), np.where(np.arange(16) < 8, 16, 0)
    for number in range(40):
        on = np.nonzero(np.arange(16)[None] < (8 if number % 4 == 0 else 16 if number % 2 else 0))
        stats.add(number, on, {"tree": half, "sky": full} if number % 2 == 0 else {"sky": full})
    lenient = LabelSettings(assign_images=1, assign_iou=0.0, assign_lift=1.0, assign_fdr=1.0)
    table = label_table(stats, lenient)
    iou = {c: dict(zip(table.columns["label"], table.columns[c], strict=True)) for c in ("iou", "iou_selection")}
    assert iou["iou"]["sky"] > iou["iou"]["tree"] and iou["iou_selection"]["tree"] > iou["iou_selection"]["sky"]
    assert [table.columns["label"][row] for row in top_labels(table).values()] == ["tree"]


def test_a_link_is_found_and_alone():
    table = label_table(world(np.random.default_rng(0), 120, linked=True), LabelSettings())
    assigned = table.columns["assigned"]
    assert set(table.columns["cid"][assigned]) == {0}
    assert table.columns["q_value"][assigned].max() < 1e-6
    assert top_labels(table) == {0: int(np.flatnonzero(assigned)[0])}
    assert table.n_tests == 20


@pytest.mark.parametrize(
    "change",
    [{"assign_iou": 0.99}, {"assign_images": 1000}, {"assign_lift": 50.0}],
    ids=lambda change: next(iter(change)),
)
def test_each_condition_of_our_rule_can_refuse(change):
    stats = world(np.random.default_rng(0), 120, linked=True)
    assert not label_table(stats, LabelSettings(**change)).columns["assigned"].any()


def test_chance_alone_can_refuse():
    """Two images say nothing, whatever the overlap."""
    stats = world(np.random.default_rng(4), 6, linked=True)
    lenient = LabelSettings(assign_images=1, assign_iou=0.0, assign_lift=1.0)
    assert not label_table(stats, lenient).columns["assigned"].any()
    assert label_table(stats, lenient.model_copy(update={"assign_fdr": 1.0})).columns["assigned"].any()


def test_labels_met_need_no_iou():
    stats, strict = world(np.random.default_rng(0), 120, linked=True), LabelSettings(assign_iou=0.99)
    table = label_table(stats, strict)
    assert not table.columns["assigned"].any() and labels_met(table, strict) == {0: ["tree"]}


def test_what_either_rule_takes_is_kept():
    table = label_table(world(np.random.default_rng(0), 120, linked=True), LabelSettings())
    kept = worth_keeping(table, LabelSettings(keep_iou=0.9))
    taken = table.columns["assigned"] | table.columns["paper_assigned"]
    assert 0 < len(kept) < len(table)
    assert (kept.columns["assigned"] | kept.columns["paper_assigned"] | (kept.columns["iou"] >= 0.9)).all()
    assert taken.sum() == (kept.columns["assigned"] | kept.columns["paper_assigned"]).sum()
