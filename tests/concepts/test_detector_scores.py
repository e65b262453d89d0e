"""The bench's scores on scenes whose every count is known by hand, and what may change when one half is another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts import detector_scores
from concepts.baselines import fit_probe
from concepts.detector_scores import Target, drawn_rows, probe_of, score_method

HALF = 20  # images of each half
DOG, CAT, ANIMAL, DUSK = ("object", "dog"), ("object", "cat"), ("parent", "animal"), ("look", "dusk")
KEYS = [DUSK, CAT, DOG, ANIMAL]
THERE = {DOG: range(5), CAT: range(5, 10), ANIMAL: range(10), DUSK: range(10, 14)}  # images of either half
REPORTED = ("precision", "recall", "f1")
INTERVALS = tuple(f"{name}_ci_{end}" for name in REPORTED for end in ("low", "high"))


def same(x_ND: np.ndarray) -> np.ndarray:
    return x_ND


def scene() -> tuple[np.ndarray, Target]:
    """x [40, 2, 5] whose channels are the features, and the truth: image j of a half has all its labels in cell j % 2.

    The even half, in reverse order: channels 0, 1 and 2 are dog, cat and animal without an error, where channel 1 is
    also weakly on where no cat is; channels 3 and 4 have a half of the dusk each. In the odd half dog misses two and
    errs once, the cat is in the wrong cell, animal misses the first dog and the last, and of the dusk channel 3 has
    one image.
    """
    even, odd = np.zeros((HALF, 2, 5), np.float16), np.zeros((HALF, 2, 5), np.float16)
    for channel, images in ((0, THERE[DOG]), (1, THERE[CAT]), (2, THERE[ANIMAL]), (3, (10, 11)), (4, (12, 13))):
        for j in images:
            even[j, j % 2, channel] = 3.0
    even[range(14, 19), 0, 1] = 0.5
    for channel, images in ((0, (0, 1, 2, 15)), (2, (1, 2, 3, 5, 6, 7, 8, 9)), (3, (10,))):
        for j in images:
            odd[j, j % 2, channel] = 2.0
    for j in THERE[CAT]:
        odd[j, 1 - j % 2, 1] = 2.0
    cells = np.zeros((HALF, 2, 4), bool)
    for column, key in enumerate(KEYS):
        for j in THERE[key]:
            cells[j, j % 2, column] = True
    cells_IPL = np.stack([cells[::-1], cells], 1).reshape(2 * HALF, 2, 4)
    return np.stack([even[::-1], odd], 1).reshape(2 * HALF, 2, 5), Target(KEYS, cells_IPL.any(1), cells_IPL)


@pytest.fixture(scope="module")
def rows():
    """(scope, label or kind) -> row; a mean's key is its kind."""
    found = score_method(same, *scene(), seed=0)
    assert [(row["scope"], row["kind"], row["label"]) for row in found] == [
        (scope, kind, label)
        for scope in ("image", "cell")
        for kind, label in (*KEYS, ("look", "*"), ("object", "*"), ("parent", "*"), ("*", "*"))
    ]
    return {(row["scope"], row["kind"] if row["label"] == "*" else row["label"]): row for row in found}


@pytest.mark.parametrize(
    ("scope", "label", "precision", "recall", "f1"),
    [
        ("image", "dog", 3 / 4, 3 / 5, 6 / 9),
        ("image", "cat", 1, 1, 1),
        ("image", "animal", 1, 8 / 10, 16 / 18),
        ("image", "dusk", 1, 1 / 4, 2 / 5),
        ("cell", "dog", 3 / 4, 3 / 5, 6 / 9),
        ("cell", "cat", 0, 0, 0),
        ("cell", "animal", 1, 8 / 10, 16 / 18),
        ("cell", "dusk", 1, 1 / 4, 2 / 5),
        ("image", "object", 7 / 8, 8 / 10, 15 / 18),
        ("cell", "object", 3 / 8, 3 / 10, 3 / 9),
        ("image", "*", 15 / 16, (3 / 5 + 1 + 8 / 10 + 1 / 4) / 4, (6 / 9 + 1 + 16 / 18 + 2 / 5) / 4),
    ],
)
def test_detectors_score_on_odd_images_what_was_planted_there(rows, scope, label, precision, recall, f1):
    row = rows[scope, label]
    assert [row[name] for name in REPORTED] == pytest.approx([precision, recall, f1])
    assert all(row[f"{name}_ci_low"] <= row[name] <= row[f"{name}_ci_high"] for name in REPORTED)


def test_detectors_are_those_that_the_even_images_tell_apart(rows):
    for scope in ("image", "cell"):
        chosen = {label: (rows[scope, label]["cid"], rows[scope, label]["threshold"]) for _, label in KEYS}
        assert chosen == {"dog": (0, 0.0), "cat": (1, 0.5), "animal": (2, 0.0), "dusk": (3, 0.0)}
        f1 = {label: rows[scope, label]["f1_chosen"] for label in ("dog", "cat", "animal", "dusk", "object", "*")}
        expected = {"dog": 1, "cat": 1, "animal": 1, "dusk": 4 / 6, "object": 1, "*": (3 + 4 / 6) / 4}
        assert f1 == pytest.approx(expected)
        for kind in ("look", "object", "parent", "*"):
            assert rows[scope, kind]["cid"] is None and rows[scope, kind]["threshold"] is None


def test_what_is_there_is_counted_by_image_and_by_cell(rows):
    for scope, of in (("image", 20), ("cell", 40)):
        assert {n: rows[scope, n]["n_positive"] for n in ("dog", "animal", "dusk", "object", "*")} == {
            "dog": 5,
            "animal": 10,
            "dusk": 4,
            "object": 10,
            "*": 24,
        }
        shares = {n: rows[scope, n]["prevalence"] for n in ("dog", "animal", "dusk", "object", "*")}
        assert shares == pytest.approx(
            {"dog": 5 / of, "animal": 10 / of, "dusk": 4 / of, "object": 5 / of, "*": 6 / of}
        )


def test_the_dusk_is_split_and_the_animal_absorbed_by_its_first_dog(rows):
    """Its base: 3 dogs and 5 cats that are there and found; the animal is silent on the first of these dogs."""
    split = {name: rows["image", name]["splitting"] for name in ("dog", "cat", "animal", "dusk", "look", "object", "*")}
    assert split == {"dog": 1, "cat": 1, "animal": 1, "dusk": 2, "look": 2, "object": 1, "*": 5 / 4}
    absorbed = {name: (rows["image", name]["absorption"], rows["image", name]["absorption_base"]) for name in split}
    none, some = (None, None), (1 / 8, 8)
    assert absorbed == {"dog": none, "cat": none, "animal": some, "dusk": none, "look": none, "object": none, "*": some}
    assert (rows["image", "parent"]["absorption"], rows["image", "parent"]["absorption_base"]) == some
    for (scope, _), row in rows.items():
        assert scope == "image" or row["splitting"] is row["absorption"] is row["absorption_base"] is None


def test_a_parent_has_the_children_that_are_never_without_it():
    """One dog without an animal, in either half, and dogs are none of its children: cats alone are the base."""
    for image in (38, 1):
        x, target = scene()
        present, cells = target.present_IL.copy(), target.cells_IPL.copy()
        present[image, KEYS.index(ANIMAL)], cells[image, :, KEYS.index(ANIMAL)] = False, False
        row = score_method(same, x, Target(KEYS, present, cells), 0)[KEYS.index(ANIMAL)]
        assert (row["absorption"], row["absorption_base"]) == (0.0, 5)


def test_a_parent_whose_children_are_never_found_has_a_base_of_none():
    x, target = scene()
    x[1::2, :, 0:2] = 0
    row = score_method(same, x, target, 0)[KEYS.index(ANIMAL)]
    assert (row["absorption"], row["absorption_base"]) == (None, 0)
    assert score_method(same, x, target, 0)[6]["absorption_base"] is None  # of the kind


def test_where_no_image_errs_the_interval_is_the_exact_binomial_one(rows):
    row = rows["image", "cat"]  # fires on five images, is on five
    for name in REPORTED:
        assert (row[f"{name}_ci_low"], row[f"{name}_ci_high"]) == (pytest.approx(0.025 ** (1 / 5)), 1.0)
    row = rows["cell", "cat"]
    assert (row["recall_ci_low"], row["recall_ci_high"]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 5)))


def test_the_seed_decides_the_resamples_alone(rows):
    again, other = (score_method(same, *scene(), seed) for seed in (0, 1))
    assert list(rows.values()) == again
    assert all(a[name] == o[name] for a, o in zip(again, other, strict=True) for name in REPORTED)
    assert any(a[name] != o[name] for a, o in zip(again, other, strict=True) for name in INTERVALS)


@pytest.mark.parametrize("at_once", [1, 3, 7])
def test_how_many_images_are_encoded_at_once_changes_nothing(rows, at_once, monkeypatch):
    monkeypatch.setattr(detector_scores, "IMAGES_AT_ONCE", at_once)
    assert score_method(same, *scene(), seed=0) == list(rows.values())


def test_so_many_images_are_encoded_at_once():
    given = []

    def encode(x_ND):
        given.append((x_ND.shape, x_ND.dtype, x_ND.flags.c_contiguous))
        return x_ND

    x = np.random.default_rng(0).random((230, 2, 3)).astype(np.float16)
    present = np.arange(230)[:, None] % 3 == 0
    score_method(encode, x, Target([DOG], present, np.repeat(present[:, None], 2, 1)), 0)
    assert given == [((n, 3), np.float32, True) for n in (200, 200, 60)]


def random_case(seed, images=30, cells=3, features=4):
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(images, cells, features)), 0).astype(np.float16)
    cells_IPL = rng.random((images, cells, 2)) < 0.3
    return x, Target([("object", "a"), ("sky", "b")], cells_IPL.any(1), cells_IPL)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_odd_images_choose_nothing(seed):
    """Others in their place: the same detectors, thresholds, splits, and F1 where chosen."""
    x, target = random_case(seed)
    other_x, other = random_case(seed + 1)
    mixed = x.copy(), target.present_IL.copy(), target.cells_IPL.copy()
    for whole, new in zip(mixed, (other_x, other.present_IL, other.cells_IPL), strict=True):
        whole[1::2] = new[1::2]
    before = score_method(same, x, target, 0)
    after = score_method(same, mixed[0], Target(target.keys, *mixed[1:]), 0)
    for name in ("cid", "threshold", "f1_chosen", "splitting"):
        assert [row[name] for row in before] == [row[name] for row in after]
    assert [row["f1"] for row in before] != [row["f1"] for row in after]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_even_images_report_nothing_of_a_detector_that_is_fixed(seed):
    """One feature that is on or off leaves nothing to choose: all that is reported is of the odd images."""
    x, target = random_case(seed, features=1)
    x = (x > 0.5).astype(np.float16)
    after_x, present, cells = x.copy(), target.present_IL.copy(), target.cells_IPL.copy()
    other_x, other = random_case(seed + 1, features=1)
    after_x[::2], present[::2], cells[::2] = other_x[::2] > 0.7, other.present_IL[::2], other.cells_IPL[::2]
    after_x[0], present[0], cells[0] = 1, True, True  # a hit, so that this is the best of detectors
    x[0], target.present_IL[0], target.cells_IPL[0] = 1, True, True
    before, after = (
        score_method(same, *case, 0) for case in ((x, target), (after_x, Target(target.keys, present, cells)))
    )
    for row, other_row in zip(before, after, strict=True):
        for name in ("cid", "threshold", "n_positive", "prevalence", *REPORTED, *INTERVALS):
            assert row[name] == other_row[name]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_are_counts_over_images_and_cells(seed):
    """Counted one by one with the detector that each row names."""
    x, target = random_case(seed)
    for number, row in enumerate(score_method(same, x, target, seed)):
        column = number % 5
        if row["label"] == "*":
            continue
        fires, there, chosen_fires, chosen_there = [], [], [], []
        for image in range(30):
            cells = [float(x[image, cell, row["cid"]]) > row["threshold"] for cell in range(3)]
            labels = [bool(target.cells_IPL[image, cell, column]) for cell in range(3)]
            of_image = (cells, labels) if row["scope"] == "cell" else ([any(cells)], [any(labels)])
            (fires if image % 2 else chosen_fires).extend(of_image[0])
            (there if image % 2 else chosen_there).extend(of_image[1])
        both = sum(f and t for f, t in zip(fires, there, strict=True))
        assert row["precision"] == pytest.approx(both / max(sum(fires), 1))
        assert row["recall"] == pytest.approx(both / max(sum(there), 1))
        chosen = sum(f and t for f, t in zip(chosen_fires, chosen_there, strict=True))
        assert row["f1_chosen"] == pytest.approx(2 * chosen / (sum(chosen_fires) + sum(chosen_there)))
        assert (row["n_positive"], row["prevalence"]) == (sum(there), pytest.approx(sum(there) / len(there)))


def test_thresholds_and_probes_are_fitted_to_so_many_rows_drawn_at_random():
    few = drawn_rows(50, 3)
    assert sorted(few) == list(range(50)) and list(few) != list(range(50))
    assert list(few) == list(drawn_rows(50, 3)) != list(drawn_rows(50, 4))
    many = drawn_rows(90_000, 3)
    assert len(many) == len(set(many)) == 30_000 and abs(many.mean() - 45_000) < 1000


def test_a_probe_is_fitted_to_cells_of_the_even_images_alone(monkeypatch):
    x, target = random_case(5)
    truth = np.stack([x[..., 0] > 0.5, x[..., 1] + x[..., 2] > 1], 2)
    x_ND, truth_NL = x[::2].reshape(-1, 4).astype(np.float32), truth[::2].reshape(-1, 2)
    new = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    expected = fit_probe(x_ND, truth_NL)(new)
    assert probe_of(x, Target(target.keys, truth.any(1), truth), 0)(new) == pytest.approx(expected, abs=1e-4)
    monkeypatch.setattr(detector_scores, "FIT_ROWS", 25)
    at = drawn_rows(45, 7)
    assert len(at) == 25
    found = probe_of(x, Target(target.keys, truth.any(1), truth), 7)(new)
    assert found == pytest.approx(fit_probe(x_ND[at], truth_NL[at])(new), abs=1e-4)
    assert np.abs(found - expected).max() > 0.01


def test_a_dictionary_of_the_labels_themselves_is_perfect_and_noise_is_not():
    rng = np.random.default_rng(0)
    cells_IPL = (rng.random((1000, 1, 2)) < 0.4) & (rng.random((1000, 16, 2)) < 0.5)
    x = np.concatenate([cells_IPL, rng.random((1000, 16, 3))], 2).astype(np.float32)
    target = Target([("object", "a"), ("object", "b")], cells_IPL.any(1), cells_IPL)
    own = score_method(lambda v: v[:, :2], x, target, 0)
    assert all(row["precision"] == row["recall"] == 1.0 for row in own)
    assert {row["splitting"] for row in own if row["scope"] == "image"} == {1.0}
    for row in score_method(lambda v: v[:, 2:], x, target, 0):
        assert row["label"] == "*" or row["precision"] == pytest.approx(row["prevalence"], abs=0.12)
    assert all(row["f1"] > 0.95 for row in score_method(probe_of(x, target, 0), x, target, 0))
