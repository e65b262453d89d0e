"""How concepts fire, and which fire together, against dense maps of 0 and 1 and loops over every position."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.activity import PAIRED, Activity, scan_activity, strongest
from concepts.codes import Codes, CodesOnDisk
from concepts.scan import MEAN, scan_concepts


def drawn(seed, images, cells, n, k):
    """Codes with values of few sizes, so that there are equal ones; the last concept never fires."""
    rng = np.random.default_rng(seed)
    values = (rng.integers(1, 9, (images, cells, k)) * (rng.random((images, cells, k)) < 0.7)).astype(np.float32)
    latents = np.stack([[rng.permutation(n - 1)[:k] for _ in range(cells)] for _ in range(images)])
    return Codes(list(range(images)), values / np.float32(7), latents)


def dense(codes, n):
    """float32 [n, images, cells]: what each concept is at each position."""
    maps = np.zeros((n, *codes.values.shape[:2]), np.float32)
    for image, cell, slot in np.ndindex(codes.values.shape):
        maps[codes.latents[image, cell, slot], image, cell] += codes.values[image, cell, slot]
    return maps


def counted(codes, n):
    maps = dense(codes, n)
    activity = Activity(maps.max((1, 2)), maps.shape[2])
    for start in range(0, len(codes.ids), 3):
        activity.add(Codes(*(of[start : start + 3] for of in codes)))
    return maps, activity.columns()


def partners(maps, cid):
    """(Jaccard, -CID) of every other concept that ever fires with one, the best first; by sets of positions."""
    on = [set(np.flatnonzero(one).tolist()) for one in maps]
    together = [(len(on[cid] & on[b]) / len(on[cid] | on[b]), -b) for b in range(len(maps)) if on[cid] & on[b]]
    return sorted([pair for pair in together if pair[1] != -cid], reverse=True)[:8]


def over_all_pairings(first, second):
    """Jaccard of the mean overlap over every image of the one with every image of the other, [images, cells] each."""
    images = len(first)
    both = Fraction(0)
    for i in range(images):
        for j in range(images):
            both += Fraction(int(((first[i] > 0) & (second[j] > 0)).sum()), images)
    return float(both / (int((first > 0).sum()) + int((second > 0).sum()) - both))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 13), k=st.integers(1, 3), images=st.integers(1, 8))
def test_histograms_and_partners_are_those_of_dense_maps(seed, n, k, images):
    maps, found = counted(drawn(seed, images, 5, n, k), n)
    assert found["cid"].tolist() == list(range(n)) and all(len(found[name]) == n for name in (*PAIRED, "histogram"))
    for cid in range(n):
        parts = [0] * 20
        for value in maps[cid][maps[cid] > 0]:
            parts[ceil(Fraction(float(value)) * 20 / Fraction(float(maps[cid].max()))) - 1] += 1
        assert found["histogram"][cid].tolist() == parts and sum(parts) == (maps[cid] > 0).sum()
        best = partners(maps, cid)
        assert found["coactive"][cid].tolist() == [-b for _, b in best]
        assert found["coactivation"][cid].tolist() == [score for score, _ in best]
        assert found["n_both"][cid].tolist() == [((maps[cid] > 0) & (maps[-b] > 0)).sum() for _, b in best]
        shuffled = [over_all_pairings(maps[cid], maps[-b]) for _, b in best]
        assert found["coactivation_shuffled"][cid].tolist() == pytest.approx(shuffled, rel=1e-12)


def one_image(*cells):
    """Codes of one image: of each cell the activations of its concepts, by number."""
    k = max(len(cell) for cell in cells)
    values, latents = np.zeros((1, len(cells), k), np.float32), np.zeros((1, len(cells), k), np.int64)
    for at, cell in enumerate(cells):
        for slot, (cid, value) in enumerate(cell.items()):
            values[0, at, slot], latents[0, at, slot] = value, cid
    return Codes([0], values, latents)


def test_the_largest_activation_is_in_the_last_part_and_a_boundary_in_the_part_that_ends_with_it():
    codes = one_image({0: 20.0}, {0: 1.0}, {0: 1.0001}, {0: 19.0}, {0: 19.0001}, {0: 0.001}, {0: 7.0})
    _, found = counted(codes, 1)
    assert np.flatnonzero(found["histogram"][0]).tolist() == [0, 1, 6, 18, 19]
    assert found["histogram"][0][[0, 1, 6, 18, 19]].tolist() == [2, 1, 1, 1, 2]


def test_a_concept_that_never_fires_has_an_empty_histogram_and_is_nobodys_partner():
    _, found = counted(one_image({0: 1.0, 2: 1.0}, {0: 2.0}), 4)
    assert found["histogram"][1].tolist() == found["histogram"][3].tolist() == [0] * 20
    assert [found["coactive"][cid].tolist() for cid in range(4)] == [[2], [], [0], []]
    assert found["coactivation"][0].tolist() == [0.5] and found["n_both"][0].tolist() == [1]


def test_equal_partners_come_by_their_numbers_and_at_most_eight():
    """Concept 5 fires with ten others, once with each, and twice with concept 9."""
    _, found = counted(one_image(*({5: 1.0, other: 1.0} for other in (11, 3, 9, 0, 7, 9, 2, 10, 1, 8, 4))), 12)
    assert found["coactive"][5].tolist() == [9, 0, 1, 2, 3, 4, 7, 8]
    assert found["coactivation"][5].tolist() == [2 / 11] + [1 / 11] * 7


def test_what_fires_at_one_place_in_every_image_is_together_by_position_alone():
    """Both at cell 0 of every image; and two others, in half of the images each, always or never in the same ones."""
    values = np.ones((4, 2, 2), np.float32)
    latents = np.array([[[0, 1], [2, 3]], [[0, 1], [2, 3]], [[0, 1], [4, 5]], [[0, 1], [5, 4]]])
    _, found = counted(Codes([0, 1, 2, 3], values, latents), 6)
    assert found["coactive"][0].tolist() == [1] and found["coactive"][2].tolist() == [3]
    assert found["coactivation"][0].tolist() == found["coactivation_shuffled"][0].tolist() == [1.0]
    assert found["coactivation"][2].tolist() == [1.0] and found["coactivation_shuffled"][2].tolist() == [1 / 3]


def test_blocks_of_concepts_have_the_partners_of_all():
    """More concepts than are taken at a time, of which neighbours fire together."""
    n = 600
    values = np.ones((1, n - 1, 2), np.float32)
    latents = np.stack([np.arange(n - 1), np.arange(1, n)], 1)[None]
    _, found = counted(Codes([0], values, latents), n)
    assert [list(of) for of in found["coactive"]] == [[1], [0, 2]] + [[c - 1, c + 1] for c in range(2, n - 2)] + [
        [n - 1, n - 3], [n - 2]
    ]  # fmt: skip
    assert found["coactivation"][0].tolist() == [0.5] and found["coactivation"][300].tolist() == [1 / 3] * 2


def test_the_strongest_of_few_are_followed_by_nothing():
    best, values = strongest(np.array([[0.0, 0.25, 0.5], [0.0, 0.0, 0.0]]), 3)
    assert values.tolist() == [[0.5, 0.25, 0.0], [0.0, 0.0, 0.0]] and best[0, :2].tolist() == [2, 1]


def test_one_pass_gives_the_same_statistics_as_without_activity(tmp_path):
    codes = CodesOnDisk(tmp_path, 9)
    whole = drawn(3, 20, 4, 9, 2)
    for start in range(0, 20, 8):
        codes.append(Codes(*(of[start : start + 8] for of in whole)))
    scan, activity = scan_activity(codes, (2, 2), MEAN)
    alone = scan_concepts(codes, (2, 2), MEAN)
    for name, column in alone.columns().items():
        assert np.array_equal(scan.columns()[name], column, equal_nan=True), name
    assert activity.together.both.shape == (9, 9) and activity.together.shuffled.size == 0  # one count a pair
    assert np.array_equal(scan.strengths_CF, alone.strengths_CF) and scan.ranked_by == MEAN
    columns = activity.columns()
    assert np.stack(columns["histogram"]).sum(1).tolist() == alone.count.tolist()
    known = counted(whole, 9)[1]
    assert all(np.array_equal(*pair) for name in PAIRED for pair in zip(columns[name], known[name], strict=True))


def test_nothing_stored_is_nothing_counted(tmp_path):
    columns = scan_activity(CodesOnDisk(tmp_path, 3), (2, 2))[1].columns()
    assert np.stack(columns["histogram"]).sum() == 0 and [len(of) for of in columns["coactive"]] == [0, 0, 0]
