"""The rows of ``layout_scores``: means over images and labels, paired differences and intervals, by hand."""

import numpy as np
import pytest

from concepts.layout import METHODS, Fitted, Predicted, image_means, layout_rows


def predicted(prompt_ids, position, **others):
    values = {method: others.get(method, position) for method in METHODS}
    return Predicted(prompt_ids, values)


@pytest.fixture
def three_labels():
    """Images 4, 7 and 9; evidence is better than position by an eighth in each, concepts by hand, rare in one image."""
    return {
        "tree": predicted([4, 7], [0.25, 0.5], concepts=[0.75, 0.0], evidence=[0.375, 0.625]),
        "rare": predicted([4], [1.0]),
        "sky": predicted([9, 7], [1.0, 0.75], concepts=[0.5, 0.25], evidence=[1.125, 0.875]),
    }


@pytest.fixture
def thresholds(three_labels):
    return {
        label: Fitted(np.ones(1), {m: number + i / 10 for i, m in enumerate(METHODS)}, np.ones(1))
        for number, label in enumerate(three_labels)
    }


def test_an_images_labels_count_as_one_image(three_labels):
    found = image_means(three_labels)
    assert found["position"].tolist() == [(0.25 + 1.0) / 2, (0.5 + 0.75) / 2, 1.0]
    assert found["concepts"].tolist() == [(0.75 + 1.0) / 2, (0.0 + 0.25) / 2, 0.5]
    assert tuple(found) == METHODS


def test_rows_by_hand(three_labels, thresholds):
    rows = layout_rows(three_labels, thresholds, 2, 100, 0)
    pooled = [*METHODS, "concepts - position", "evidence - position", "posterior - position", "shuffled - position"]
    keys = [(label, method) for label in ("sky", "tree") for method in METHODS] + [("*", method) for method in pooled]
    assert [(row["label"], row["method"]) for row in rows] == keys
    of = {(row["label"], row["method"]): row for row in rows}
    assert of["sky", "concepts"]["iou"] == 0.375 and of["tree", "position"]["iou"] == 0.375
    assert [of["sky", m]["threshold"] for m in METHODS] == [2.0, 2.1, 2.2, 2.3, 2.4]
    assert {of["*", m]["threshold"] for m in pooled} == {None}
    assert {row["n"] for row in rows[:10]} == {2} and {row["n"] for row in rows[10:]} == {3}
    # Image 4 has tree alone, 9 sky alone, 7 both: position 1/4, 5/8, 1, and concepts 3/4, 1/8, 1/2.
    assert of["*", "position"]["iou"] == pytest.approx((0.25 + 0.625 + 1.0) / 3)
    assert of["*", "concepts"]["iou"] == pytest.approx((0.75 + 0.125 + 0.5) / 3)
    assert of["*", "concepts - position"]["iou"] == pytest.approx((0.5 - 0.5 - 0.5) / 3)
    # Differences are paired: the same in every image, so that they are known exactly though neither method's mean is.
    sure = of["*", "evidence - position"]
    assert (sure["iou"], sure["iou_ci_low"], sure["iou_ci_high"]) == (0.125, 0.125, 0.125)
    assert of["*", "evidence"]["iou_ci_low"] == 0.375 and of["*", "evidence"]["iou_ci_high"] == 1.125


def test_without_a_label_in_enough_images_there_are_no_rows(three_labels, thresholds):
    assert layout_rows(three_labels, thresholds, 3, 100, 0) == []


def test_intervals_are_of_so_many_resamples_of_images_drawn_by_the_seed():
    rng = np.random.default_rng(5)
    values = rng.random(30)
    world = {"tree": predicted(list(range(30)), values.tolist())}
    fitted = {"tree": Fitted(np.ones(1), dict.fromkeys(METHODS, 0.5), np.ones(1))}

    def interval(samples, seed):
        row = layout_rows(world, fitted, 2, samples, seed)[0]
        return row["iou_ci_low"], row["iou_ci_high"]

    low, high = interval(4000, 1)
    error = values.std() / 30**0.5
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.1 * error)
    assert interval(4000, 1) == (low, high) != interval(4000, 2) and interval(4000, 1) != interval(3999, 1)
