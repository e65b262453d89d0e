"""The two rules at their very bars, what counts as a test, and the order of rows, from sums made by hand."""

import numpy as np
import pytest

from concepts.label_table import LabelTable, label_table, labels_met, taken, top_labels, worth_keeping
from concepts.overlap import OverlapStats
from concepts.settings import LabelSettings

GRID, CELLS, CELL = (2, 2), 4, 4
LENIENT = {"assign_iou": 0.0, "assign_fdr": 1.0, "assign_lift": 1.0, "assign_images": 1, "keep_iou": 0.0}


def image(stats, prompt_id, on, **areas):
    """``on``: concept -> its cells; each label's pixels in the four cells."""
    pairs = sorted((concept, cell) for concept, cells in on.items() for cell in cells)
    concepts, cells = np.array(pairs, np.int64).reshape(-1, 2).T
    stats.add(prompt_id, (concepts, cells), {label: np.array(area) for label, area in areas.items()})


def linked():
    """Concept 1 fires in half of the tree in 6 of 20 images of each half, and nowhere else; concept 0 never.

    In the held-out half it fires on all of the tree and one cell beside it.
    """
    stats = OverlapStats(3, GRID, CELL)
    for number in range(40):
        if number % 20 >= 6:
            image(stats, 2 * (number % 20) + number // 20, {2: [3]})
        elif number < 20:
            image(stats, 2 * number, {1: [0]}, tree=[4, 4, 0, 0])
        else:
            image(stats, 2 * (number - 20) + 1, {1: [0, 1, 2]}, tree=[4, 4, 0, 0])
    return stats


def row_of(settings, stats=None):
    table = label_table(stats or linked(), LabelSettings(**LENIENT | settings))
    assert len(table) == 1 and table.columns["cid"].tolist() == [1] and table.columns["label"].tolist() == ["tree"]
    return {name: values[0] for name, values in table.columns.items()}


def test_a_row_by_hand():
    """Selection: I 24, on 24, label 48 pixels. Held out: I 48, on 72, label 48. Chance: 6 x 6 of 20 images."""
    row = row_of({})
    assert row["iou_selection"] == 24 / 48 and row["iou_heldout"] == 48 / 72 and row["iou"] == 72 / 120
    assert row["iou_copresent"] == 72 / 120 and row["precision"] == 72 / 96 and row["precision_heldout"] == 48 / 72
    assert row["recall"] == 72 / 96 and row["n_co"] == 12 and row["n_co_selection"] == 6
    # Cells 0 and 1 hold 4 pixels in 6 images of a half; the concept is in cell 0 in 12 of 40 images, in 1 in 6.
    assert row["lift"] == pytest.approx(72 / ((12 * 48 + 6 * 48) / 40))
    assert row["lift_selection"] == pytest.approx(24 / (6 * 24 / 20))
    assert row["n_hit50"] == 6  # the selection half's IoU is one half, and no hit
    assert row["ceiling"] == 1.0
    chance = 1 / 38760  # of C(20, 6) ways to choose 6 images one is right
    assert row["p_value"] == pytest.approx(5 * chance) and row["q_value"] == pytest.approx(2 * 5 * chance)
    assert row["assigned"] and row["paper_assigned"]


def above(value):
    return float(np.nextafter(value, np.inf))


@pytest.mark.parametrize(
    ("bar", "column", "beyond"),
    [
        ("assign_iou", "iou_selection", above),
        ("assign_lift", "lift_selection", above),
        ("assign_images", "n_co_selection", lambda n: n + 1),
        ("assign_fdr", "q_value", lambda q: float(np.nextafter(q, 0))),
    ],
)
def test_our_rule_takes_a_pair_that_just_reaches_each_bar(bar, column, beyond):
    value = row_of({})[column].item()
    assert row_of({bar: value})["assigned"] and not row_of({bar: beyond(value)})["assigned"]


def test_a_pair_has_to_reach_every_bar_at_once():
    bars = {
        "assign_iou": "iou_selection", "assign_lift": "lift_selection", "assign_images": "n_co_selection",
        "assign_fdr": "q_value",
    }  # fmt: skip
    row = row_of({})
    assert row_of({bar: row[column].item() for bar, column in bars.items()})["assigned"]


@pytest.mark.parametrize(
    ("tree", "hits"), [([4, 0, 0, 0], 12), ([3, 0, 0, 0], 12), ([2, 0, 0, 0], 0), ([4, 4, 1, 0], 0)]
)
def test_the_papers_rule_wants_an_iou_of_more_than_one_half(tree, hits):
    """One cell of four pixels is on: IoU is 1, 3/4, 1/2 and 4/9."""
    stats = OverlapStats(3, GRID, CELL)
    for number in range(12):
        image(stats, number, {1: [0]}, tree=tree)
    row = row_of({}, stats)
    assert (row["n_hit50"], row["paper_assigned"]) == (hits, hits > 0)


def test_one_hit_is_enough_for_the_papers_rule_and_a_rare_pair_has_its_lift():
    """In one of 40 images a concept is on in one cell, of whose four pixels the label has three."""
    stats = OverlapStats(3, GRID, CELL)
    for number in range(40):
        image(stats, number, {1: [2]} if number == 8 else {}, **({"tree": [0, 0, 3, 0]} if number == 8 else {}))
    row = row_of({}, stats)
    assert row["n_hit50"] == 1 and row["paper_assigned"]
    assert row["lift"] == pytest.approx(3 / (1 * 3 / 40)) and row["lift_selection"] == pytest.approx(3 / (1 * 3 / 20))


def test_a_pair_is_kept_at_the_bar_and_whenever_a_rule_takes_it():
    columns = {
        "iou": np.array([0.25, 0.24, 0.1, 0.1, 0.1]),
        "assigned": np.array([False, False, True, False, False]),
        "paper_assigned": np.array([False, False, False, True, False]),
        "cid": np.arange(5),
    }
    table = LabelTable(columns, 77)
    kept, either = worth_keeping(table, LabelSettings(keep_iou=0.25)), taken(table)
    assert kept.columns["cid"].tolist() == [0, 2, 3] and either.columns["cid"].tolist() == [2, 3]
    assert (kept.n_tests, either.n_tests, len(table), len(either)) == (77, 77, 5, 2)


def test_pairs_of_what_the_selection_half_never_shows_are_no_tests():
    """Two concepts and two labels occur there; concept 2 and the label sea in the held-out half alone."""
    stats = OverlapStats(4, GRID, CELL)
    image(stats, 0, {0: [0], 1: [1]}, tree=[4, 0, 0, 0])
    image(stats, 2, {0: [0]}, sky=[0, 4, 0, 0])
    image(stats, 1, {2: [2], 0: [2]}, sea=[0, 0, 4, 0])
    table = label_table(stats, LabelSettings(**LENIENT))
    assert table.n_tests == 4
    pairs = list(zip(table.columns["cid"].tolist(), table.columns["label"].tolist(), strict=True))
    assert pairs == [(0, "sea"), (0, "tree"), (2, "sea")]
    assert table.columns["p_value"].tolist() == [1.0] * 3


def test_rows_seen_in_the_held_out_half_alone_have_q_values_too():
    """Three pairs and not one test: each counts as one, and nothing is discovered."""
    stats = OverlapStats(2, GRID, CELL)
    image(stats, 1, {0: [0], 1: [0]}, tree=[4, 0, 0, 0], sky=[2, 0, 0, 0])
    table = label_table(stats, LabelSettings(**LENIENT))
    assert table.n_tests == 0 and table.columns["q_value"].tolist() == [1.0] * 4
    assert np.isnan(table.columns["lift_selection"]).all() and not table.columns["assigned"].any()
    assert table.columns["iou_selection"].tolist() == [0.0] * 4


def test_without_held_out_images_nothing_is_reported_of_them():
    stats = OverlapStats(1, GRID, CELL)
    image(stats, 0, {0: [0, 1]}, tree=[4, 0, 0, 0])
    row = {name: values[0] for name, values in label_table(stats, LabelSettings()).columns.items()}
    for name in ("iou_heldout", "iou_heldout_se", "precision_heldout"):
        assert np.isnan(row[name])
    assert row["iou"] == row["iou_selection"] == 0.5
    image(stats, 1, {})
    seen = {name: values[0] for name, values in label_table(stats, LabelSettings()).columns.items()}
    assert (seen["iou_heldout"], seen["iou_heldout_se"]) == (0.0, 0.0) and np.isnan(seen["precision_heldout"])


def test_rows_go_by_concept_and_then_by_label():
    stats = OverlapStats(2, GRID, CELL)
    image(stats, 0, {0: [0], 1: [0]}, tree=[4, 0, 0, 0], ant=[1, 0, 0, 0], sky=[2, 0, 0, 0])
    columns = label_table(stats, LabelSettings()).columns
    assert columns["cid"].tolist() == [0, 0, 0, 1, 1, 1]
    assert columns["label"].tolist() == ["ant", "sky", "tree"] * 2 and columns["iou"].tolist() == [0.25, 0.5, 1.0] * 2


def test_a_table_of_nothing_has_the_columns_of_any_other():
    empty, full = label_table(OverlapStats(3, GRID, CELL), LabelSettings()), label_table(linked(), LabelSettings())
    assert {len(column) for column in empty.columns.values()} == {0} and empty.n_tests == 0
    assert len(empty) == 0 and set(empty.columns) == set(full.columns)
    assert {name: c.dtype for name, c in empty.columns.items()} == {n: c.dtype for n, c in full.columns.items()}


def labels_table(rows):
    """Of rows (cid, label, iou_selection, q_value, lift_selection, assigned)."""
    names = ("cid", "label", "iou_selection", "q_value", "lift_selection", "assigned")
    columns = {name: np.array(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return LabelTable(columns, len(rows))


def test_the_top_label_is_the_assigned_one_of_highest_iou_and_the_first_of_equals():
    table = labels_table(
        [
            (1, "a", 0.3, 0, 9, True), (1, "b", 0.6, 0, 9, True), (1, "c", 0.6, 0, 9, True),
            (1, "d", 0.9, 0, 9, False), (4, "a", 0.1, 0, 9, True), (5, "a", 0.8, 0, 9, False),
        ]
    )  # fmt: skip
    assert top_labels(table) == {1: 1, 4: 4}


def test_a_label_is_met_at_both_bars_and_beyond_neither():
    settings = LabelSettings(assign_fdr=0.05, assign_lift=1.5)
    rows = [(7, "a", 0, 0.05, 1.5, False), (7, "b", 0, 0.051, 9, True), (7, "c", 0, 0.01, 1.49, True)]
    rows += [(7, "d", 0, 0.0, 2.0, False), (8, "a", 0, 0.0, np.nan, False), (9, "z", 0, 0.0, 1.6, False)]
    assert labels_met(labels_table(rows), settings) == {7: ["a", "d"], 9: ["z"]}
