"""The rows of ``layout_scores``: means over images and over labels, paired differences, nouns that no segment shows."""

import numpy as np
import pytest

from concepts.layout_rows import LabelScores, layout_rows, parent_groups, size_groups

MINE, PLACE, OTHER = ("trained", "evidence"), ("trained", "position"), ("untrained", "evidence")


def scores_of(prompt_ids, place, mine, other, undetected=(), threshold=0.5):
    scores = LabelScores(prompt_ids, undetected)
    for number, (method, ious) in enumerate(((PLACE, place), (MINE, mine), (OTHER, other))):
        scores.take(method, threshold + number, np.array(ious))
    return scores


@pytest.fixture
def three_labels():
    """Images 4, 7 and 9. Evidence is an eighth better than position in each. Captions 7 and 11 name a car in vain."""
    return {
        "tree": scores_of([4, 7], [0.25, 0.5], [0.375, 0.625], [0.75, 0.0]),
        "sky": scores_of([7, 9], [0.75, 1.0], [0.875, 1.125], [0.25, 0.5], threshold=1.5),
        "car": scores_of([4], [1.0], [1.125], [1.0], undetected=[7, 11]),
    }


def table(scores, groups=None, baselines=(PLACE,), samples=200, seed=0):
    return layout_rows(scores, groups or {}, baselines, samples, seed)


def by_key(rows):
    found = {(row["label"], row["kind"], row["method"]): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_rows_are_each_label_by_each_method_then_summaries_with_differences(three_labels):
    rows = table(three_labels, {"* small": ["tree", "car"]}, [PLACE, MINE])
    methods = [PLACE, MINE, OTHER]
    differences = [
        ("trained", "evidence - position"),
        ("untrained", "evidence - position"),
        ("trained", "position - evidence"),
        ("untrained", "evidence - evidence"),
    ]
    expected = [(label, *method) for label in ("car", "sky", "tree") for method in methods]
    expected += [(name, *method) for name in ("*", "* small", "* by label") for method in methods + differences]
    assert [(row["label"], row["kind"], row["method"]) for row in rows] == expected
    thresholds = [row["threshold"] for row in rows]
    assert thresholds[:9] == [0.5, 1.5, 2.5, 1.5, 2.5, 3.5, 0.5, 1.5, 2.5] and set(thresholds[9:]) == {None}


def test_means_over_images_and_over_labels_by_hand(three_labels):
    """Image 4 has tree and car, 7 tree and sky, 9 sky: position 5/8, 5/8, 1, and the other's 7/8, 1/8, 1/2."""
    of = by_key(table(three_labels, {"* small": ["tree", "car"]}))
    assert of["tree", *PLACE]["iou"] == 0.375 and of["sky", *OTHER]["iou"] == 0.375 and of["tree", *PLACE]["n"] == 2
    assert of["*", *PLACE]["iou"] == pytest.approx((0.625 + 0.625 + 1.0) / 3) and of["*", *PLACE]["n"] == 3
    assert of["*", *OTHER]["iou"] == pytest.approx((0.875 + 0.125 + 0.5) / 3)
    assert of["*", "untrained", "evidence - position"]["iou"] == pytest.approx((0.25 - 0.5 - 0.5) / 3)
    assert of["* by label", *PLACE]["iou"] == pytest.approx((0.375 + 0.875 + 1.0) / 3)
    assert of["* by label", *OTHER]["iou"] == pytest.approx((0.375 + 0.375 + 1.0) / 3)
    assert of["* small", *PLACE]["iou"] == pytest.approx((0.625 + 0.5) / 2) and of["* small", *PLACE]["n"] == 2


def test_nouns_that_no_segment_shows_count_as_nothing_found(three_labels):
    """Image 7 now has a car of 0 beside its two, and image 11 a car alone."""
    of = by_key(table(three_labels))
    car, tree, every, labels = (of[name, *PLACE] for name in ("car", "tree", "*", "* by label"))
    assert (car["iou"], car["iou_all"], car["n"], car["n_undetected"]) == (1.0, pytest.approx(1 / 3), 1, 2)
    assert (tree["iou"], tree["iou_all"], tree["n_undetected"]) == (0.375, 0.375, 0)
    assert (every["n"], every["n_undetected"]) == (3, 2)
    assert every["iou_all"] == pytest.approx((0.625 + (0.5 + 0.75 + 0) / 3 + 1.0 + 0.0) / 4)
    assert labels["iou_all"] == pytest.approx((0.375 + 0.875 + 1 / 3) / 3)
    assert of["*", "trained", "evidence - position"]["iou_all"] == pytest.approx((0.125 + 0.25 / 3 + 0.125 + 0) / 4)


def test_differences_are_paired(three_labels):
    """The same in every image, so that they are known exactly though neither method's mean is."""
    of = by_key(table(three_labels))
    for name in ("*", "* by label"):
        sure = of[name, "trained", "evidence - position"]
        assert [sure[key] for key in ("iou", "iou_ci_low", "iou_ci_high")] == pytest.approx([0.125] * 3)
    assert of["*", *MINE]["iou_ci_low"] == pytest.approx(0.75) and of["*", *MINE]["iou_ci_high"] == pytest.approx(1.125)


def test_intervals_are_those_of_the_mean_over_so_many_images_by_the_seed():
    values = np.random.default_rng(5).random(30)
    world = {"tree": scores_of(list(range(30)), values, values, values[::-1], undetected=list(range(50, 60)))}

    def interval(samples, seed, kind="iou", name="tree"):
        row = by_key(table(world, samples=samples, seed=seed))[name, *PLACE]
        return row[f"{kind}_ci_low"], row[f"{kind}_ci_high"]

    low, high = interval(4000, 1)
    error = values.std() / 30**0.5
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)
    assert interval(4000, 1) == (low, high) != interval(4000, 2) and interval(4000, 1) != interval(3999, 1)
    assert interval(4000, 1, name="*") == interval(4000, 1, name="* by label") == (low, high)
    filled = np.concatenate([values, np.zeros(10)])
    error, middle = filled.std() / 40**0.5, filled.mean()
    found = interval(4000, 1, "iou_all")
    assert found == pytest.approx((middle - 1.96 * error, middle + 1.96 * error), abs=0.1 * error)


def test_a_mean_over_labels_resamples_images_and_not_labels():
    """Two labels in the same images, one always right and one never: which images are drawn does not matter."""
    ids = list(range(9))
    world = {"tree": scores_of(ids, np.ones(9), np.ones(9), np.ones(9)), "sky": scores_of(ids, *np.zeros((3, 9)))}
    row = by_key(table(world))["* by label", *PLACE]
    assert (row["iou"], row["iou_ci_low"], row["iou_ci_high"]) == pytest.approx((0.5, 0.5, 0.5))


def test_without_labels_there_are_no_rows():
    assert table({}) == []


def test_labels_are_grouped_by_their_size_and_by_what_they_are():
    assert size_groups({"sky": 0.5, "tree": 0.1, "sand": 0.2}, 0.2) == {"* small": ["tree"], "* large": ["sky", "sand"]}
    assert size_groups({"tree": 0.1}, 0.2) == {"* small": ["tree"]} and size_groups({}, 0.2) == {}
    assert parent_groups({"dog": "animal", "cat": "animal", "car": "vehicle"}) == {"* animal": ["cat", "dog"]}
