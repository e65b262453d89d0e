"""Which prompts and regions are edited, and by which concepts: from captions and label rows written down here."""

import itertools
import random

import numpy as np

from concepts.cases import EVERYWHERE, Case, all_carriers, carriers, global_cases, most_similar, spatial_cases
from concepts.edit_controls import CONCEPTS, RANDOM, UNEDITED
from concepts.settings import REGIONS, LabelSettings

CAPTIONS = ["a tree", "a dog at night", "a tree and a dog", "a sketch of a tree", "a tree by night", "a boat"]
PROMPTS = [
    {"prompt_id": 40 + i, "caption": caption, "seed": 7 * i, "n_tokens": 3} for i, caption in enumerate(CAPTIONS)
]


def names(caption, label):
    return label in caption.split()


def test_the_first_prompts_that_name_the_object_in_every_quadrant():
    found = spatial_cases(PROMPTS, "tree", 3, names)
    assert [(case.prompt_id, case.region) for case in found] == [
        (prompt, region) for prompt in (40, 42, 43) for region in REGIONS
    ]
    assert found[5] == Case(42, "a tree and a dog", 14, "top_right") and len(set(found)) == 12  # no two are one case
    assert [case.prompt_id for case in spatial_cases(PROMPTS, "dog", 1, names)] == [41] * 4
    assert len(spatial_cases(PROMPTS, "tree", 9, names)) == 16  # a look in the caption does no harm here
    assert spatial_cases(PROMPTS, "house", 9, names) == [] == spatial_cases([], "tree", 9, names)


def test_the_first_prompts_that_name_no_look_once_each():
    found = global_cases(PROMPTS, ("night", "sketch"), 2, names)
    assert found == [Case(40, "a tree", 0, "everywhere"), Case(42, "a tree and a dog", 14, "everywhere")]
    assert [case.prompt_id for case in global_cases(PROMPTS, ("night", "sketch"), 9, names)] == [40, 42, 45]
    assert [case.prompt_id for case in global_cases(PROMPTS, ("night",), 9, names)] == [40, 42, 43, 45]
    assert len(global_cases(PROMPTS, (), 9, names)) == 6


def test_the_words_of_the_tables():
    assert (CONCEPTS, RANDOM, UNEDITED, EVERYWHERE) == ("none", "random_direction", "unedited", "everywhere")


BARS = LabelSettings(assign_images=5, assign_lift=1.5)


def label_row(cid, iou, images=5, lift=1.5):
    return {"cid": cid, "iou_selection": iou, "n_co_selection": images, "lift_selection": lift}


def test_the_concepts_of_highest_iou_on_the_selection_half():
    """Best first, of two that are equal the lower CID; what it is over all images or the other half counts nothing."""
    rows = [
        label_row(9, 0.25) | {"iou": 0.9, "iou_heldout": 0.9},
        label_row(4, 0.5),
        label_row(7, 0.25),
        label_row(8, 0.0),
    ]
    for order in itertools.permutations(rows):
        assert carriers(order, BARS, 9) == [4, 7, 9, 8]
        assert carriers(order, BARS, 2) == [4, 7]
    assert carriers([], BARS, 5) == []


def test_the_bars_are_those_of_our_rule_but_for_the_iou():
    """Each is passed at its very value. A concept that never meets its label has no lift at all."""
    rows = [
        label_row(0, 0.01),
        label_row(1, 0.9, images=4),
        label_row(2, 0.9, lift=1.499),
        label_row(3, 0.9, lift=None),
        label_row(4, 0.02, images=6, lift=1.6) | {"assigned": False, "q_value": 0.9},
    ]
    assert carriers(rows, BARS, 5) == [4, 0]
    looser = LabelSettings(assign_images=4, assign_lift=1.0)
    assert carriers(rows, looser, 5) == [1, 2, 4, 0]


def test_whatever_the_rows_the_concepts_are_the_best_that_pass():
    """Nothing that is left out passes and is better than what is taken; counted pair by pair."""
    rng = random.Random(1)
    for _ in range(100):
        rows = [label_row(c, rng.randrange(4) / 8, rng.randrange(3, 8), rng.choice([1.0, 1.5, 2.0])) for c in range(12)]
        rng.shuffle(rows)
        of_cid = {row["cid"]: row for row in rows}
        taken = carriers(rows, BARS, 3)
        passing = {c for c, row in of_cid.items() if not (row["n_co_selection"] < 5 or row["lift_selection"] < 1.5)}
        assert set(taken) <= passing and len(taken) == min(3, len(passing))
        for one, other in itertools.product(taken, passing - set(taken)):
            gain = of_cid[one]["iou_selection"] - of_cid[other]["iou_selection"]
            assert gain > 0 or (gain == 0 and one < other)


def test_the_papers_concepts_of_an_object_are_all_whose_list_has_it():
    rows = [
        {"cid": cid, "iou_selection": iou, "paper_assigned": listed}
        for cid, iou, listed in ((4, 0.1, True), (2, 0.1, True), (7, 0.9, False), (9, 0.3, True))
    ]
    assert all_carriers(rows) == [9, 2, 4] == all_carriers(reversed(rows))
    assert all_carriers(row for row in rows if row["cid"] == 7) == []


def test_a_concept_is_carried_over_to_the_nearest_by_angle():
    there = {8: np.array([5.0, 0.1]), 3: np.array([0.0, 1.0]), 5: np.array([-2.0, 0.0])}
    assert most_similar(there, np.array([1.0, 0.0])) == 8  # however long
    assert most_similar(there, np.array([0.1, 9.0])) == 3
    assert most_similar(there, np.array([-1.0, 0.2])) == 5
    assert most_similar({8: np.array([2.0, 0.0]), 3: np.array([1.0, 0.0])}, np.array([1.0, 1.0])) == 3  # a tie
    assert most_similar({}, np.array([1.0])) is None
    rng = np.random.default_rng(1)
    many = {cid: rng.normal(size=4) for cid in range(50)}
    asked = rng.normal(size=4)
    cosine = {cid: float(v @ asked / np.linalg.norm(v)) for cid, v in many.items()}
    assert most_similar(many, asked) == max(cosine, key=cosine.__getitem__)
