"""Repeated boxes and masks: counted pixel by pixel, suppressed and joined by brute force, ties in one order."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from vision.nms import box_ious, label_unions, mask_iou, merge_masks, suppress
from vision.types import Box, Segment

boxes = st.builds(
    lambda label, score, x, y, w, h: Box(label, score, 1.0, (float(x), float(y), float(x + w), float(y + h))),
    st.sampled_from(["cat", "dog"]),
    st.sampled_from([0.1, 0.5, 0.9]),
    *[st.integers(0, 8)] * 2,
    *[st.integers(0, 6)] * 2,
)


def pixels_of(box):
    x0, y0, x1, y1 = map(int, box.xyxy)
    return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}


def overlap(first, second):
    """IoU of two sets of pixels, exact; 0 of two empty ones."""
    union = len(first | second)
    return Fraction(len(first & second), union) if union else Fraction(0)


@examples(max_examples=150, deadline=None)
@given(st.lists(boxes, max_size=12), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_suppression_equals_brute_force(found, iou):
    kept = []
    for box in sorted(found, key=lambda b: (-b.score, b.label, b.xyxy)):
        if not any(box.label == k.label and overlap(pixels_of(box), pixels_of(k)) > iou for k in kept):
            kept.append(box)
    assert suppress(found, iou) == kept


@examples(max_examples=60, deadline=None)
@given(boxes, st.lists(boxes, min_size=1, max_size=4))
def test_box_iou_counts_pixels(a, others):
    found = box_ious(np.array(a.xyxy), np.array([b.xyxy for b in others]))
    assert found == pytest.approx([float(overlap(pixels_of(a), pixels_of(b))) for b in others])


def test_boxes_need_not_begin_at_the_corner_nor_be_square():
    box, others = np.array([2.0, 3.0, 6.0, 5.0]), np.array([[4.0, 4.0, 10.0, 6.0], [6.0, 3.0, 8.0, 5.0], [2, 3, 6, 5]])
    assert box_ious(box, others) == pytest.approx([2 / (8 + 12 - 2), 0, 1])  # overlapping, touching, the same
    half = np.array([0.5, 0.5, 1.0, 1.5])  # an area of one half
    assert box_ious(half, np.array([half, half - [0, 0, 0, 0.5]])).tolist() == [1.0, 0.5]
    assert box_ious(np.array([1.0, 1.0, 1.0, 9.0]), np.array([[1.0, 2.0, 1.0, 3.0]])).tolist() == [0.0]  # both empty


def mask_of(*on):
    mask = np.zeros(16, bool)
    mask[list(on)] = True
    return mask.reshape(4, 4)


def segment(label, score, xyxy, *on):
    return Segment(label, mask_of(*on), 0.1, 0.2, score, tuple(map(float, xyxy)))


def test_mask_iou_by_hand():
    assert mask_iou(mask_of(0, 1, 2), mask_of(2, 3)) == 1 / 4
    assert mask_iou(mask_of(5), mask_of(5)) == 1.0 and mask_iou(mask_of(5), mask_of(6)) == 0.0
    assert mask_iou(mask_of(), mask_of()) == 0.0 and mask_iou(mask_of(), mask_of(1)) == 0.0


def test_the_union_of_a_label_is_of_all_its_segments_and_of_no_other():
    segments = [segment("cat", 1, (0, 0, 1, 1), *on) for on in ((0, 1), (1, 2), (9,))]
    segments.insert(1, segment("dog", 1, (0, 0, 1, 1), 4))
    found = label_unions(segments)
    assert list(found) == ["cat", "dog"]
    assert np.array_equal(found["cat"], mask_of(0, 1, 2, 9)) and np.array_equal(found["dog"], mask_of(4))
    assert [s.mask.sum() for s in segments] == [2, 1, 2, 1]  # what was given is as it was
    assert label_unions([]) == {}


def joined(segments, iou):
    """``merge_masks`` by sets of pixels, exact: each segment joins the first of its label that it repeats."""
    kept = []
    for one in sorted(segments, key=lambda s: (-s.mask_score, s.xyxy)):
        on = set(np.flatnonzero(one.mask))
        for known, pixels in kept:
            if known.label == one.label and overlap(on, pixels) > iou:
                pixels |= on
                break
        else:
            kept.append((one, on))
    ordered = sorted(kept, key=lambda pair: (-pair[0].mask_score, pair[0].label, pair[0].xyxy))
    return [(s.label, s.mask_score, s.xyxy, sorted(pixels)) for s, pixels in ordered]


segments_drawn = st.lists(
    st.builds(
        lambda label, score, x, on: segment(label, score, (x, 0, x + 1, 1), *on),
        st.sampled_from(["cat", "dog"]),
        st.sampled_from([0.25, 0.5, 0.75]),
        st.integers(0, 9),
        st.sets(st.integers(0, 7)),
    ),
    max_size=8,
    unique_by=lambda s: (s.label, s.xyxy),  # of equal rank the first given would come first
)


@examples(max_examples=150, deadline=None)
@given(segments_drawn, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
def test_masks_are_joined_as_by_brute_force(segments, iou):
    found = merge_masks(segments, iou)
    assert [(s.label, s.mask_score, s.xyxy, np.flatnonzero(s.mask).tolist()) for s in found] == joined(segments, iou)


def test_a_joined_segment_is_the_better_one_with_more_pixels():
    first, second = segment("cat", 0.9, (0, 0, 1, 1), 0, 1, 2, 3), segment("cat", 0.8, (2, 2, 3, 3), 1, 2, 3, 4)
    (found,) = merge_masks([second, first], 0.5)
    assert (found.tag_score, found.box_score, found.mask_score, found.xyxy) == (0.1, 0.2, 0.9, (0, 0, 1, 1))
    assert np.array_equal(found.mask, mask_of(0, 1, 2, 3, 4)) and first.mask.sum() == 4
    assert len(merge_masks([first, second], 0.6)) == 2  # their IoU is 3/5, and no more


def test_what_has_grown_by_joining_is_what_later_ones_are_held_against():
    """Eleven pixels repeat the six that two have become, not the four of the first."""
    chain = [segment("cat", 1 - n / 10, (n, 0, n + 1, 1), *range(n)) for n in (4, 6, 11)]
    assert [s.mask.sum() for s in merge_masks(chain, 0.5)] == [11]


def test_empty_masks_repeat_nothing():
    empty = [segment("cat", 1 - n / 10, (n, 0, n + 1, 1)) for n in range(2)]
    for iou in (0.0, 0.5):
        assert [s.xyxy[0] for s in merge_masks(empty, iou)] == [0, 1]


def test_equal_scores_rank_by_label_then_by_corners():
    made = [segment(label, 0.5, (x, 0, x + 1, 1), x) for label in ("dog", "cat") for x in (3, 1)]
    made.append(segment("emu", 0.75, (5, 0, 6, 1), 5))
    assert [(s.label, s.xyxy[0]) for s in merge_masks(made, 0.5)] == [
        ("emu", 5), ("cat", 1), ("cat", 3), ("dog", 1), ("dog", 3),
    ]  # fmt: skip
    ranked = suppress([Box(s.label, s.mask_score, 1.0, s.xyxy) for s in made], 0.5)
    assert [(b.label, b.xyxy[0]) for b in ranked] == [("emu", 5), ("cat", 1), ("cat", 3), ("dog", 1), ("dog", 3)]
