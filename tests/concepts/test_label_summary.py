"""A dictionary's labels in a few numbers, from sums and tables made by hand."""

import numpy as np
import pytest

from concepts.evidence import iou_of
from concepts.label_summary import summarise
from concepts.label_table import LabelTable, label_table
from concepts.overlap import OverlapStats
from concepts.settings import LabelSettings


def stats_of(images, n=4):
    """From (prompt id, concept -> its cells, label -> pixels in each of four cells of four pixels)."""
    stats = OverlapStats(n, (2, 2), 4)
    for prompt_id, on, areas in images:
        pairs = sorted((concept, cell) for concept, cells in on.items() for cell in cells)
        on_E = tuple(np.array(pairs, np.int64).reshape(-1, 2).T)
        stats.add(prompt_id, on_E, {label: np.array(area) for label, area in areas.items()})
    return stats


TREE, SKY = [4, 4, 0, 0], [0, 0, 2, 4]


@pytest.fixture
def stats():
    """Concept 0 is best for the tree on the selection half, 1 on the held-out half; 2 is the sky's; 3 never fires."""
    return stats_of(
        [
            (0, {0: [0, 1], 1: [0]}, {"tree": TREE}),
            (2, {2: [2, 3]}, {"sky": SKY}),
            (1, {0: [0], 1: [0, 1]}, {"tree": TREE}),
            (3, {0: [1], 2: [3]}, {"tree": TREE, "sky": SKY}),
            (5, {2: [3]}, {"sky": SKY, "sea": [1, 1, 1, 1]}),
        ]
    )


def test_the_mean_iou_is_the_held_out_one_of_the_concepts_that_the_other_half_picks(stats):
    """Tree by concept 0: I 4 + 4, U 8 + 8. Sky by concept 2: I 4 + 4, U 6 + 6. Sea is in one half, and left out."""
    found = summarise(stats, label_table(stats, LabelSettings()))
    assert found["label_iou"] == pytest.approx((8 / 16 + 8 / 12) / 2)
    # The tree could be drawn exactly. Of the sky's cells, four pixels and two, both together are right to 6 / 8, and
    # the full ones alone to 4 / 6.
    assert found["label_ceiling"] == pytest.approx((1.0 + 6 / 8) / 2)


def test_its_interval_adds_the_labels_errors_as_independent():
    """Of two labels the standard error of the mean is half the root of the summed squares."""
    rng = np.random.default_rng(0)
    images = [
        (i, {c: rng.permutation(4)[: rng.integers(1, 4)] for c in (0, 1)}, {"tree": rng.permutation(TREE), "sky": SKY})
        for i in range(300)
    ]
    stats = stats_of(images)
    found = summarise(stats, label_table(stats, LabelSettings()))
    best = {label: int(np.argmax(iou_of(stats, label, (0,)).value)) for label in ("tree", "sky")}
    errors = [iou_of(stats, label, (1,)).error[concept] for label, concept in best.items()]
    half = 1.959964 * (errors[0] ** 2 + errors[1] ** 2) ** 0.5 / 2
    assert found["label_iou_ci_low"] == pytest.approx(found["label_iou"] - half) and half > 0.005
    assert found["label_iou_ci_high"] == pytest.approx(found["label_iou"] + half)


def test_an_interval_stays_between_nothing_and_everything():
    """A quarter of one mask and nothing of another; half of an image that is taken for a whole, and two that are."""
    chosen = (0, {0: [0]}, {"a": [4, 0, 0, 0]})
    low = stats_of([chosen, (1, {0: [0]}, {"a": [4, 4, 4, 4]}), (3, {0: [0]}, {"a": [0, 4, 4, 4]})])
    found = summarise(low, label_table(low, LabelSettings()))
    assert 0 == found["label_iou_ci_low"] < found["label_iou"] < found["label_iou_ci_high"] < 1
    masks = {1: [4, 4, 0, 0], 3: [4, 4, 4, 4], 5: [4, 4, 4, 4]}
    high = stats_of([chosen, *[(i, {0: [0, 1, 2, 3]}, {"a": mask}) for i, mask in masks.items()]])
    found = summarise(high, label_table(high, LabelSettings()))
    assert 0 < found["label_iou_ci_low"] < found["label_iou"] < found["label_iou_ci_high"] == 1


def test_without_a_label_in_both_halves_there_is_no_mean():
    for stats in (stats_of([]), stats_of([(0, {0: [0]}, {"tree": TREE}), (1, {0: [0]}, {"sky": SKY})])):
        found = summarise(stats, label_table(stats, LabelSettings()))
        names = ("label_iou", "label_iou_ci_low", "label_iou_ci_high", "label_ceiling")
        assert [found[name] for name in names] == [None] * 4


def test_counts_of_concepts_and_of_labels(stats):
    rows = [
        (0, "tree", True, True), (0, "sky", True, False), (1, "tree", True, False), (2, "sky", False, True),
        (2, "sea", False, True), (2, "tree", False, False),
    ]  # fmt: skip
    names = ("cid", "label", "assigned", "paper_assigned")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    found = summarise(stats, LabelTable(columns, 19))
    assert {name: found[name] for name in found if name.startswith("n_")} == {
        "n_concepts": 4, "n_alive": 3, "n_labelled": 2, "n_labels": 2, "n_assigned": 3, "n_paper_assigned": 3,
        "n_paper_labelled": 2, "n_tests": 19,
    }  # fmt: skip


def test_a_concept_that_fires_in_one_half_alone_is_alive():
    assert summarise(stats_of([(1, {2: [0]}, {})]), label_table(stats_of([]), LabelSettings()))["n_alive"] == 1
