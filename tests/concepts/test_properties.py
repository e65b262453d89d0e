"""Properties of concepts against double loops, dense maps and two-group variances counted value by value."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from concepts.embeddings import centre, concept_embeddings
from concepts.properties import ColourSums, PlaceSums, cohesion, coverage, position_selectivity, separability

LABELS = ("cat", "dog", "sky", "tree", "car")
SEEDS = st.integers(0, 10_000)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def random_pairs(rng, n_concepts):
    """Columns of ``concept_labels``, in no order, some pairs without a hit; concept 0 has no pair at all."""
    pairs = [(c, label) for c in range(1, n_concepts) for label in LABELS if rng.random() < 0.4]
    rng.shuffle(pairs)
    hits = rng.integers(0, 4, len(pairs))
    cids, names = [int(c) for c, _ in pairs], [str(label) for _, label in pairs]
    return {"cid": np.array(cids, int), "label": np.array(names, object), "n_hit50": hits}


def score(maps_NP):
    """The context-free score of one concept's maps, float [images, cells]."""
    sums = PlaceSums.zeros(1, maps_NP.shape[1])
    for map_P in maps_NP:
        cells = np.flatnonzero(map_P)
        sums.add(np.zeros(len(cells), int), cells, map_P[cells])
    return float(sums.context_free()[0])


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, cells=st.integers(2, 6))
def test_the_context_free_score_is_between_all_arrangements(seed, cells):
    """Of the same activations in each image: 0 is the smallest variance that any arrangement has, 1 the mean one."""
    rng = np.random.default_rng(seed)
    maps = np.round(rng.random((2, cells)), 2) * (rng.random((2, cells)) < 0.7)
    every = [np.stack([maps[0], maps[1][list(order)]]) for order in itertools.permutations(range(cells))]
    variances = [each.var(0).mean() for each in every]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("concepts.properties.MIN_PLACED", 2)  # as many as all arrangements can be tried of
        found = [score(each) for each in every]
    if not np.ptp(variances) > 1e-12 or not maps.any(1).all():
        assert np.isnan(found).all()
        return
    low, middle = min(variances), np.mean(variances)
    assert found == pytest.approx([(v - low) / (middle - low) for v in variances], abs=1e-6)


def test_what_is_bound_to_a_place_has_the_smallest_context_free_score_and_what_is_rare_has_not():
    """Planted concepts, from ten firings to everywhere: only the bound ones come out low, however often they fire."""
    rng = np.random.default_rng(0)
    images, cells = 300, 64
    corner = np.isin(np.arange(cells), (0, 1, 8, 9))

    def in_some(share, maps):
        return maps * 1.0 * (rng.random((images, 1)) < share)

    def noise(density):
        return rng.random((images, cells)) * (rng.random((images, cells)) < density)

    def thing(share):
        """A square that is somewhere else in each image that has it."""
        maps = np.zeros((images, 8, 8))
        for image, (y, x) in enumerate(rng.integers(0, 6, (images, 2))):
            maps[image, y : y + 3, x : x + 3] = rng.random()
        return in_some(share, maps.reshape(images, cells))

    bound = {
        "corner": corner * (0.5 + 0.5 * rng.random((images, 1))),
        "cell": in_some(0.9, np.eye(cells)[63]),
        "edge": 1.0 * (np.arange(cells) < 8) * (rng.random((images, cells)) < 0.8),
        "corner of a tenth": in_some(0.1, corner),
    }
    free = {f"noise {d}": noise(d) for d in (0.003, 0.01, 0.1, 0.5, 1.0)}
    free |= {f"thing in {s}": thing(s) for s in (0.08, 0.5, 1.0)}
    scores = {name: score(maps) for name, maps in (bound | free).items()}
    assert max(scores[name] for name in bound) < 0.4 < 0.8 < min(scores[name] for name in free)
    plain = {name: maps.var(0).mean() for name, maps in (bound | free).items()}
    assert plain["noise 0.003"] < min(plain[name] for name in bound)  # what the variance alone puts first

    few = np.zeros((images, cells))
    few[:9, 5] = 1.0
    for nothing_to_tell in (few, np.ones((images, cells)), np.zeros((images, cells))):
        assert np.isnan(score(nothing_to_tell))
    assert score(np.tile(rng.random(cells), (images, 1))) == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n_concepts=st.integers(1, 8))
def test_cohesion_is_the_mean_over_the_list_with_its_repetitions(seed, n_concepts):
    rng = np.random.default_rng(seed)
    columns, vectors = random_pairs(rng, n_concepts), {label: rng.normal(size=4) * 3 for label in LABELS}
    lists = [[] for _ in range(n_concepts)]
    for cid, label, hits in zip(columns["cid"], columns["label"], columns["n_hit50"], strict=True):
        lists[cid] += [label] * int(hits)
    found = cohesion(columns, vectors, n_concepts)
    for value, names in zip(found, lists, strict=True):
        if not names:
            assert math.isnan(value)
        elif len(set(names)) == 1:
            assert value == 1.0
        else:
            listed = [vectors[name] for name in names]
            mean = sum(listed) / len(listed)
            assert value == pytest.approx(sum(cosine(v, mean) for v in listed) / len(listed), abs=1e-9)


def test_labels_that_cancel_have_nothing_in_common():
    columns = {"cid": [0, 0], "label": ["cat", "dog"], "n_hit50": [2, 2]}
    assert cohesion(columns, {"cat": np.array([0.6, 0.8]), "dog": -np.array([0.6, 0.8])}, 1)[0] == 0.0


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, n=st.integers(0, 7), unlabelled=st.integers(0, 3))
def test_separability_is_the_mean_over_all_pairs(seed, n, unlabelled):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n, 3)) * 5
    whole = rng.permutation(np.concatenate([centres, np.full((unlabelled, 3), np.nan)]))
    pairs = [cosine(a, b) for i, a in enumerate(centres) for j, b in enumerate(centres) if i != j]
    found = separability(whole)
    assert math.isnan(found) if n < 2 else found == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)


def test_a_centre_at_zero_has_cosine_zero():
    assert separability(np.array([[1.0, 0], [2.0, 0], [0, 0]])) == pytest.approx(2 / 6)


def test_separability_of_equal_centres_is_one():
    embeddings = concept_embeddings(
        {"cid": [0, 2], "label": ["cat", "cat"], "n_hit50": [1, 5]}, {"cat": np.array([0.3, 0.4])}, 3
    )
    assert separability(embeddings) == pytest.approx(1.0)


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, cells=st.integers(2, 9))
def test_position_selectivity_is_one_minus_the_relative_entropy(seed, cells):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (5, cells)) * (rng.random((5, 1)) < 0.8)
    for value, row in zip(position_selectivity(counts), counts, strict=True):
        if row.sum():
            assert value == pytest.approx(1 - entropy(row) / math.log(cells), abs=1e-9) and 0 <= value <= 1
        else:
            assert math.isnan(value)


def test_position_selectivity_of_one_cell_all_cells_and_a_grid_of_one():
    assert position_selectivity(np.array([[0, 9, 0, 0], [3, 3, 3, 3]])) == pytest.approx([1, 0])
    assert np.isnan(position_selectivity(np.array([[4]]))).all()


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, images=st.integers(1, 12))
def test_coverage_is_over_the_images_where_the_concept_fires(seed, images):
    rng = np.random.default_rng(seed)
    on_ICP = (rng.random((images, 4, 9)) < 0.4) & (rng.random((images, 4, 1)) < 0.5)
    count_IC = on_ICP.sum(2)
    mean, deviation = coverage((count_IC > 0).sum(0), count_IC.sum(0), (count_IC**2).sum(0), 9)
    for cid in range(4):
        shares = [on_ICP[i, cid].mean() for i in range(images) if on_ICP[i, cid].any()]
        if shares:
            assert mean[cid] == pytest.approx(np.mean(shares)) and deviation[cid] == pytest.approx(np.std(shares))
        else:
            assert math.isnan(mean[cid]) and math.isnan(deviation[cid])


def random_images(rng, images, concepts=4, cells=6):
    """[(on bool [C, P], rgb uint8 [P, 3])]; concept 0 never fires, concept 1 always and everywhere."""
    found = []
    for _ in range(images):
        on = rng.random((concepts, cells)) < 0.3
        on[0], on[1] = False, True
        found.append((on, rng.integers(0, 256, (cells, 3)).astype(np.uint8)))
    return found


def colour_sums(images, concepts=4):
    sums = ColourSums(concepts)
    for on, rgb in images:
        sums.add(*np.nonzero(on), rgb)
    return sums


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, images=st.integers(1, 6))
def test_colour_selectivity_is_eta_squared_of_two_groups(seed, images):
    shown = random_images(np.random.default_rng(seed), images)
    sums = colour_sums(shown)
    colours = np.concatenate([rgb for _, rgb in shown]).astype(float)
    total = ((colours - colours.mean(0)) ** 2).sum()
    selectivity, mean = sums.selectivity(), sums.mean()
    for cid in range(4):
        on = np.concatenate([image_on[cid] for image_on, _ in shown])
        if not on.any():
            assert np.isnan(mean[cid]).all()
        else:
            assert mean[cid] == pytest.approx(colours[on].mean(0))
        if on.all() or not on.any():
            assert math.isnan(selectivity[cid])
            continue
        between = sum(g.sum() * ((colours[g].mean(0) - colours.mean(0)) ** 2).sum() for g in (on, ~on))
        assert selectivity[cid] == pytest.approx(between / total, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, cut=st.integers(0, 6))
def test_colour_sums_merge_exactly_in_any_order(seed, cut):
    rng = np.random.default_rng(seed)
    shown = random_images(rng, 6)
    whole, merged = colour_sums(shown), ColourSums(4)
    shuffled = [shown[i] for i in rng.permutation(6)]
    for part in (shuffled[cut:], shuffled[:cut]):
        merged.merge(colour_sums(part))
    for name, value in vars(whole).items():
        assert np.array_equal(value, getattr(merged, name)), name
    assert np.asarray(merged.rgb).dtype == np.int64


def test_colour_edge_cases():
    with pytest.raises(ValueError, match="4 and of 5 concepts"):
        ColourSums(4).merge(ColourSums(5))
    assert np.isnan(ColourSums(2).selectivity()).all() and np.isnan(ColourSums(2).mean()).all()
    grey = ColourSums(1)
    for _ in range(3):
        grey.add(np.array([0]), np.array([1]), np.full((3, 3), 77, np.uint8))
    assert np.isnan(grey.selectivity()).all() and grey.mean() == pytest.approx(np.full((1, 3), 77))
    red = ColourSums(2)
    red.add(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([[255, 0, 0], [255, 0, 0], [0, 0, 255]], np.uint8))
    assert red.selectivity()[0] == pytest.approx(1.0) and red.selectivity()[1] < 0.5


# Sums by hand, and cases where nothing might be divided by nothing


def test_sums_over_places_by_hand():
    """Of one image: concept 1 in cells 2 and 0, the stronger first; concept 2 in cell 1; concept 0 nowhere."""
    sums = PlaceSums.zeros(3, 3)
    sums.add(np.array([1, 2, 1]), np.array([0, 1, 2]), np.array([0.25, 0.5, 1.0]))
    assert sums.at_cell.tolist() == [[0, 0, 0], [0.25, 0, 1], [0, 0.5, 0]]
    assert sums.at_rank.tolist() == [[0, 0, 0], [1, 0.25, 0], [0.5, 0, 0]]
    assert sums.square.tolist() == [0, 1.0625, 0.25] and sums.square_of_sums.tolist() == [0, 1.5625, 0.25]
    assert sums.images.tolist() == [0, 1, 1]


def test_ten_images_are_enough_to_tell_of_a_place():
    for images in (9, 10):
        assert math.isnan(score(np.tile([1.0, 0.0, 0.5], (images, 1)))) == (images < 10)


@pytest.mark.parametrize("seed", range(6))
def test_a_concept_that_is_on_everywhere_alike_has_no_arrangement_to_tell_of(seed):
    """Whatever rounding leaves of the difference of sums that are equal: more than nothing, nothing, less."""
    strengths = np.random.default_rng(seed).random((300, 1))
    with np.errstate(all="raise"):
        assert math.isnan(score(np.tile(strengths, 64)))


@pytest.mark.filterwarnings("error")
def test_a_studys_only_label_which_centring_leaves_without_a_direction_is_pure_and_no_warning():
    only = centre(np.array([[3.0, 4.0]]))[0]
    columns = {"cid": np.array([0]), "label": np.array(["cat"], object), "n_hit50": np.array([2])}
    assert not only.any() and cohesion(columns, {"cat": only}, 2)[0] == 1.0
    # Among others it adds nothing: of cat and dog the mean is along the dog, which alone has a cosine to it.
    both = {"cid": np.array([0, 0]), "label": np.array(["cat", "dog"], object), "n_hit50": np.array([1, 3])}
    assert cohesion(both, {"cat": only, "dog": np.array([0.0, 2.0])}, 1)[0] == pytest.approx(0.75)


def test_cohesion_is_of_directions_however_long_the_vectors():
    vectors = {"cat": np.array([1.0, 0.0]), "dog": np.array([0.6, 0.8])}
    columns = {"cid": [0, 0], "label": ["cat", "dog"], "n_hit50": [1, 1]}
    for scale in (1e-6, 1.0, 1e6):
        scaled = {label: scale * vector for label, vector in vectors.items()}
        assert cohesion(columns, scaled, 1)[0] == pytest.approx(math.sqrt(0.8))  # of half the angle between them


def test_labels_cancel_where_their_mean_is_nothing_beside_the_longest_label():
    columns = {"cid": [0, 0, 1], "label": ["cat", "dog", "sky"], "n_hit50": [1, 1, 1]}
    short = {"cat": np.array([1.0, 0.0]), "dog": np.array([-1.0, 1e-10]), "sky": np.array([0.0, 1e-5])}
    assert cohesion(columns, short, 2).tolist() == [0.0, 1.0]
    many = {f"label {i}": np.array([1.0, 0.0]) for i in range(400)} | {"dog": np.array([-1.0, 1e-8])}
    columns = {"cid": [0, 0] + [1] * 399, "label": ["label 0", "dog", *list(many)[1:400]], "n_hit50": [1] * 401}
    assert cohesion(columns, many, 2)[0] > 0  # ten times what is nothing beside a vector of length 1


def test_nothing_is_divided_by_nothing():
    """Concepts that never fire, fire everywhere, or have no label; a grid of one cell; no image; one colour."""
    with np.errstate(all="raise"):
        columns = {"cid": [1], "label": ["cat"], "n_hit50": [1]}
        assert cohesion(columns, {"cat": np.array([0.6, 0.8])}, 2)[1] == 1.0
        assert np.isnan(position_selectivity(np.array([[0, 0], [3, 3]]))).tolist() == [True, False]
        assert np.isnan(position_selectivity(np.array([[4]]))).all()
        mean, deviation = coverage(np.array([0, 1]), np.array([0, 3]), np.array([0, 9]), 4)
        assert np.isnan(mean[0]) and (mean[1], deviation[1]) == (0.75, 0.0)
        sums = ColourSums(3)
        assert np.isnan(sums.selectivity()).all() and np.isnan(sums.mean()).all()
        sums.add(np.array([1, 1, 2]), np.array([0, 1, 0]), np.array([[7, 8, 9], [7, 8, 9]], np.uint8))
        assert np.isnan(sums.selectivity()).all() and np.isnan(sums.mean()[0]).all()
        sums.add(np.array([1, 1]), np.array([0, 1]), np.array([[7, 8, 9], [7, 8, 10]], np.uint8))
        found = sums.selectivity()
        assert np.isnan(found[:2]).all() and found[2] == pytest.approx(1 / 9)


def test_colours_that_hardly_differ_are_told_apart():
    """Two cells a unit apart in one channel: a variance of half a unit in all, explained wholly."""
    sums = ColourSums(1)
    sums.add(np.array([0]), np.array([0]), np.array([[7, 8, 9], [7, 8, 10]], np.uint8))
    assert sums.selectivity().tolist() == [1.0]
