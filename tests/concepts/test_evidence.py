"""p-values against scipy and against chance itself, q-values against a loop and scipy, the two rules."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from concepts.evidence import copresence_tail, p_values, q_values
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
