"""The pass that counts overlaps against cells counted one by one, and what its control keeps and loses."""

import numpy as np
import pytest
from scipy.stats import chisquare

from concepts.codes import Codes
from concepts.evidence import pair_sums
from concepts.overlap import OverlapStats
from concepts.overlap_pass import SHUFFLED_POSITIONS, LabelledCodes, count_overlaps, out_of_place
from concepts.properties import ColourSums

N, GRID, CELLS, CELL = 4, (2, 3), 6, 8


def make_runs(rng, sizes, first=10):
    """Runs of images: codes of two slots a cell, a tree and a house in most, every cell's colour."""
    runs = []
    for size in sizes:
        ids = list(range(first, first + size))
        values = rng.choice([0.0, 0.05, 0.1, 0.6, 1.0], (size, CELLS, 2)).astype(np.float32)
        latents = np.array([[rng.permutation(N)[:2] for _ in range(CELLS)] for _ in ids])
        areas = {
            i: {label: rng.integers(0, CELL + 1, CELLS) for label in ("tree", "house") if rng.random() < 0.8}
            for i in ids
            if rng.random() < 0.8
        }
        rgb = {i: rng.integers(0, 256, (CELLS, 3)).astype(np.uint8) for i in ids}
        runs.append(LabelledCodes(Codes(ids, values, latents), areas, rgb))
        first += size
    return runs


def cells_on(run, act_max, cut):
    """prompt id -> concept -> the set of cells where it is on, slot by slot."""
    found = {}
    for prompt_id, values, latents in zip(*run.codes, strict=True):
        found[prompt_id] = {c: set() for c in range(N)}
        for cell in range(CELLS):
            for value, concept in zip(values[cell], latents[cell], strict=True):
                if value > 0 and value >= np.float32(cut) * act_max[concept]:
                    found[prompt_id][concept].add(cell)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_those_of_cells_counted_one_by_one(seed):
    """Concept 1 has a larger maximum, so that 0.1 is on for the others and off for it."""
    rng = np.random.default_rng(seed)
    runs, act_max = make_runs(rng, (3, 4, 1)), np.array([1.0, 2.0, 1.0, 1.0], np.float32)
    stats, colours = OverlapStats(N, GRID, CELL), ColourSums(N)
    assert count_overlaps(stats, iter(runs), act_max, 0.1, colours) is stats
    inter, on, labels = {}, np.zeros((2, N), int), {}
    rgb, cells = np.zeros((N, 3), int), np.zeros(N, int)
    for run in runs:
        for prompt_id, of_concept in cells_on(run, act_max, 0.1).items():
            for concept, where in of_concept.items():
                on[prompt_id % 2, concept] += CELL * len(where)
                cells[concept] += len(where)
                for cell in where:
                    rgb[concept] += run.rgb[prompt_id][cell]
                for label, area in run.areas.get(prompt_id, {}).items():
                    at = label, prompt_id % 2, concept
                    inter[at] = inter.get(at, 0) + sum(int(area[cell]) for cell in where)
            for label, area in run.areas.get(prompt_id, {}).items():
                labels[label, prompt_id % 2] = labels.get((label, prompt_id % 2), 0) + int(area.sum())
    assert stats.images.tolist() == [4, 4] and np.array_equal(stats.on, on)
    for (label, half), pixels in labels.items():
        assert stats.labels[label].pixels[half] == pixels
        assert pair_sums(stats, label, (half,))["inter"].tolist() == [inter[label, half, c] for c in range(N)]
    assert np.array_equal(colours.cells, cells) and np.array_equal(colours.rgb, rgb)
    assert colours.all_cells == 8 * CELLS


def test_an_image_without_segments_counts_and_no_colours_are_asked_for_unless_wanted():
    codes = Codes([3], np.ones((1, CELLS, 1), np.float32), np.zeros((1, CELLS, 1), int))
    stats = count_overlaps(OverlapStats(1, GRID, CELL), [LabelledCodes(codes, {}, {})], np.ones(1), 0.1)
    assert stats.images.tolist() == [0, 1] and stats.on[1, 0] == CELL * CELLS and not stats.labels
    with pytest.raises(KeyError):
        count_overlaps(OverlapStats(1, GRID, CELL), [LabelledCodes(codes, {}, {})], np.ones(1), 0.1, ColourSums(1))


def test_codes_of_fewer_images_than_ids_are_refused():
    codes = Codes([3, 4], np.ones((1, CELLS, 1), np.float32), np.zeros((1, CELLS, 1), int))
    with pytest.raises(ValueError, match="shorter"):
        count_overlaps(OverlapStats(1, GRID, CELL), [LabelledCodes(codes, {}, {})], np.ones(1), 0.1)


# The control of position


def test_the_control_has_the_name_that_tables_give_it():
    assert SHUFFLED_POSITIONS == "shuffled_positions"


def shuffled(runs, seed):
    act_max = np.array([1.0, 2.0, 1.0, 1.0], np.float32)
    return count_overlaps(OverlapStats(N, GRID, CELL), runs, act_max, 0.1, shuffle_seed=seed)


def test_the_control_counts_the_moved_masks_and_the_codes_where_they_are():
    runs = make_runs(np.random.default_rng(0), (4, 3))
    moved = [
        run._replace(areas={i: out_of_place(areas, CELLS, 5, i) for i, areas in run.areas.items()}) for run in runs
    ]
    act_max = np.array([1.0, 2.0, 1.0, 1.0], np.float32)
    expected = count_overlaps(OverlapStats(N, GRID, CELL), moved, act_max, 0.1)
    found = shuffled(runs, 5)
    for label in ("tree", "house"):
        assert np.array_equal(found.pairs[label], expected.pairs[label])
    assert np.array_equal(found.on_cells, expected.on_cells)


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_control_keeps_sizes_and_presence_and_loses_place(seed):
    runs = make_runs(np.random.default_rng(1), (40, 40))
    plain, moved = shuffled(runs, None), shuffled(runs, seed)
    assert np.array_equal(moved.on, plain.on) and np.array_equal(moved.on_cells, plain.on_cells)
    for label in ("tree", "house"):
        mine, other = moved.labels[label], plain.labels[label]
        for name in ("pixels", "pixels2", "images", "occupancy"):
            assert np.array_equal(getattr(mine, name), getattr(other, name))
        for name in ("n_co", "n_co_4", "inter_label", "on_label"):
            same = np.array_equal(pair_sums(moved, label)[name], pair_sums(plain, label)[name])
            assert same == (name != "inter_label")
        assert not np.array_equal(mine.cells, other.cells)


def test_a_concept_that_is_its_label_is_lost_to_the_control():
    """The mask is two cells of six: dealt anew a third of it is met, where the concept meets it all."""
    rng = np.random.default_rng(2)
    runs = []
    for i in range(600):
        where = rng.permutation(CELLS)[:2]
        values, area = np.zeros((1, CELLS, 1), np.float32), np.zeros(CELLS, int)
        values[0, where], area[where] = 1.0, CELL
        runs.append(LabelledCodes(Codes([i], values, np.zeros((1, CELLS, 1), int)), {i: {"tree": area}}, {}))
    plain, moved = shuffled(runs, None), shuffled(runs, 0)
    whole = 600 * 2 * CELL
    assert pair_sums(plain, "tree")["inter"][0] == whole
    share = pair_sums(moved, "tree")["inter"][0] / whole
    assert share == pytest.approx(1 / 3, abs=4 * np.sqrt((1 / 3) * (2 / 3) / 1200))


def test_the_labels_of_an_image_move_together():
    rng = np.random.default_rng(3)
    tree = rng.permutation(64)
    moved = out_of_place({"tree": tree, "rest": 100 - tree, "copy": tree.copy()}, 64, 0, 12)
    assert sorted(moved["tree"]) == sorted(tree) and not np.array_equal(moved["tree"], tree)
    assert (moved["tree"] + moved["rest"] == 100).all() and np.array_equal(moved["copy"], moved["tree"])


def test_every_image_has_a_permutation_of_its_own_by_the_seed():
    cells = {"a": np.arange(64)}

    def order(seed, prompt_id):
        return tuple(out_of_place(cells, 64, seed, prompt_id)["a"].tolist())

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, prompt_id) for seed in range(4) for prompt_id in range(50)}) == 200


def test_every_cell_goes_everywhere_equally_often():
    places = np.array([out_of_place({"a": np.arange(6)}, 6, 0, i)["a"] for i in range(3000)])
    for cell in range(6):
        assert chisquare(np.bincount(places[:, cell], minlength=6)).pvalue > 1e-3


def test_how_images_are_split_into_runs_does_not_matter():
    (whole,) = make_runs(np.random.default_rng(4), (9,))
    parts = [
        LabelledCodes(Codes(*(column[a:b] for column in whole.codes)), whole.areas, whole.rgb)
        for a, b in ((0, 2), (2, 3), (3, 9))
    ]
    found, expected = shuffled(parts, 6), shuffled([whole], 6)
    assert all(np.array_equal(found.pairs[label], expected.pairs[label]) for label in ("tree", "house"))
