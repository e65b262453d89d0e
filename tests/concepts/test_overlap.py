"""Overlap statistics against pixels counted one by one, and intervals against the bootstrap and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.evidence import pair_sums
from concepts.label_table import label_table
from concepts.overlap import LEVELS, PAIR_SUMS, OverlapStats, cell_areas, where_on
from concepts.settings import LabelSettings

GRID, SIZE, N, CELL = (4, 4), 16, 5, 16
LENIENT = LabelSettings(assign_fdr=1.0)


def random_image(rng):
    values = rng.random((16, 2)).astype(np.float32) * (rng.random((16, 2)) < 0.7)
    indices = np.stack([rng.permutation(N)[:2] for _ in range(16)])
    masks = {label: rng.random((SIZE, SIZE)) < 0.4 for label in ("tree", "sky") if rng.random() < 0.8}
    return values, indices, masks


def adversarial_image(rng):
    """Nothing or everything on, masks of no pixel, all or one, values at the cut, slots that are off, odd labels."""
    values = rng.choice([0.0, 0.05, 0.1, 1.0], (16, 2)).astype(np.float32)
    if rng.random() < 0.3:
        values[:] = rng.choice([0.0, 1.0])
    indices = np.stack([rng.permutation(N)[:2] for _ in range(16)])
    dot = np.zeros((SIZE, SIZE), bool)
    dot[tuple(rng.integers(0, SIZE, 2))] = True
    choices = [np.zeros((SIZE, SIZE), bool), np.ones((SIZE, SIZE), bool), dot, np.tril(np.ones((SIZE, SIZE), bool))]
    masks = {label: choices[rng.integers(4)] for label in ("tree", "sky", 'o\'clock. "x"') if rng.random() < 0.7}
    return values, indices, masks


def collect(images, act_max, ids=None):
    stats = OverlapStats(N, GRID, CELL)
    for number, (values, indices, masks) in enumerate(images):
        on = where_on(values, indices, act_max, 0.1)
        prompt_id = ids[number] if ids else number
        stats.add(prompt_id, on, {k: cell_areas(m, GRID) for k, m in masks.items()})
    return stats


def rows_of(stats, rules=LENIENT):
    table = label_table(stats, rules)
    names = list(table.columns)
    return [dict(zip(names, values, strict=True)) for values in zip(*table.columns.values(), strict=True)]


def pixels_on(values, indices, act_max, cid):
    on = np.zeros(16, bool)
    for cell in range(16):
        for slot in range(2):
            v = values[cell, slot]
            if indices[cell, slot] == cid and v > 0 and v >= np.float32(0.1) * act_max[cid]:
                on[cell] = True
    return np.kron(on.reshape(GRID), np.ones((4, 4), bool)).astype(bool)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), make=st.sampled_from([random_image, adversarial_image]))
def test_every_number_equals_a_count_over_pixels(seed, make):
    rng = np.random.default_rng(seed)
    images, act_max = [make(rng) for _ in range(6)], rng.random(N).astype(np.float32) + 0.3
    found = {(r["cid"], r["label"]): r for r in rows_of(collect(images, act_max))}
    nothing = np.zeros((SIZE, SIZE), bool)
    expected = 0
    for cid in range(N):
        for label in sorted({label for _, _, masks in images for label in masks}):
            pairs = [(pixels_on(v, x, act_max, cid), m.get(label, nothing)) for v, x, m in images]
            both = [(on, m) for on, m in pairs if m.any() and on.any()]
            inter = sum(int((on & m).sum()) for on, m in pairs)
            if not inter:
                assert (cid, label) not in found
                continue
            expected += 1
            row = found[cid, label]
            assert row["iou"] == pytest.approx(inter / sum(int((on | m).sum()) for on, m in pairs))
            assert row["iou_copresent"] == pytest.approx(inter / sum(int((on | m).sum()) for on, m in both))
            for name, half in (("iou_selection", pairs[0::2]), ("iou_heldout", pairs[1::2])):
                union = sum(int((on | m).sum()) for on, m in half)
                assert row[name] == pytest.approx(sum(int((on & m).sum()) for on, m in half) / max(union, 1))
            on_heldout = sum(int(on.sum()) for on, _ in pairs[1::2])
            hits = sum(int((on & m).sum()) for on, m in pairs[1::2])
            assert row["precision_heldout"] == pytest.approx(hits / on_heldout if on_heldout else np.nan, nan_ok=True)
            assert row["n_co"] == len(both)
            assert row["n_co_selection"] == sum(m.any() and on.any() for on, m in pairs[0::2])
            assert row["n_hit50"] == sum((on & m).sum() > 0.5 * (on | m).sum() for on, m in both)
            assert row["precision"] == pytest.approx(inter / sum(int(on.sum()) for on, _ in pairs))
            assert row["recall"] == pytest.approx(inter / sum(int(m.sum()) for _, m in pairs))
            assert row["lift"] == pytest.approx(lift(pairs))
            assert row["lift_selection"] == pytest.approx(lift(pairs[0::2]), nan_ok=True)
            assert row["iou"] <= row["ceiling"] + 1e-12
            levels = pair_sums(collect(images, act_max), label)
            for level, name in zip(LEVELS, PAIR_SUMS, strict=False):
                cells = [on.sum() // CELL for on, m in pairs if m.any()]
                assert levels[name][cid] == sum(count >= level for count in cells)
    assert len(found) == expected


def lift(pairs):
    """Overlap over what the positions of both would give, pixel by pixel; NaN where that is nothing."""
    on_share = sum(on.astype(float) for on, _ in pairs)
    label_share = sum(cells_of(m) for _, m in pairs)
    chance = (on_share * label_share).sum() / len(pairs)
    return sum(int((on & m).sum()) for on, m in pairs) / chance if chance else np.nan


def cells_of(mask):
    """A mask spread evenly within each cell: position is known by cell only."""
    return np.kron(cell_areas(mask, GRID).reshape(GRID) / CELL, np.ones((4, 4)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 8), order=st.permutations(range(8)))
def test_merging_in_any_order_is_exact(seed, cut, order):
    rng = np.random.default_rng(seed)
    images, act_max = [adversarial_image(rng) for _ in range(8)], np.ones(N, np.float32)
    whole = collect(images, act_max)
    left = collect([images[i] for i in order[:cut]], act_max, list(order[:cut]))
    left.merge(collect([images[i] for i in order[cut:]], act_max, list(order[cut:])))
    for mine, other in zip(rows_of(left), rows_of(whole), strict=True):
        np.testing.assert_equal(mine, other)  # equal to the last bit, and NaN where the other is
    assert np.array_equal(left.places.products_CQQ, whole.places.products_CQQ)
    for label, sums in whole.labels.items():
        np.testing.assert_equal(vars(left.labels[label]), vars(sums))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_ceiling_is_the_best_that_any_cells_can_do(seed):
    """All 2^8 choices of cells, in two images of four cells, tried one by one."""
    rng = np.random.default_rng(seed)
    masks = [rng.random((4, 4)) < rng.random() for _ in range(2)]
    stats = OverlapStats(1, (2, 2), 4)
    for prompt_id, mask in enumerate(masks):
        stats.add(prompt_id, (np.zeros(0, int), np.zeros(0, int)), {"tree": cell_areas(mask, (2, 2))})
    areas = np.concatenate([cell_areas(mask, (2, 2)) for mask in masks])
    if not areas.sum():
        assert not stats.labels
        return
    best = 0.0
    for choice in range(1, 256):
        taken = np.array([choice >> i & 1 for i in range(8)], bool)
        inside = areas[taken].sum()
        best = max(best, inside / (4 * taken.sum() + areas.sum() - inside))
    assert stats.ceiling("tree") == pytest.approx(best)


def test_a_mask_of_one_pixel_has_the_ceiling_of_its_cell():
    stats = OverlapStats(1, (1, 4), 4)
    stats.add(0, (np.zeros(0, int), np.zeros(0, int)), {"dot": np.array([0, 1, 0, 0]), "most": np.array([4, 1, 0, 0])})
    assert stats.ceiling("dot") == 1 / 4
    assert stats.ceiling("most") == 4 / 5  # the second cell would cost more than it brings


def test_halves_are_kept_apart():
    mask = np.ones((SIZE, SIZE), bool)
    half = np.zeros((16, 1), np.float32)
    half[:8] = 1
    index = np.zeros((16, 1), np.int64)
    images = [(np.ones((16, 1), np.float32), index, {"sky": mask}), (half, index, {"sky": mask})]
    row = rows_of(collect(images, np.ones(N, np.float32)))[0]
    assert (row["iou_selection"], row["iou_heldout"], row["iou"]) == (1.0, 0.5, 0.75)


def test_a_concept_that_fires_everywhere_pays_for_the_images_without_the_label():
    everywhere = (np.ones((16, 1), np.float32), np.zeros((16, 1), np.int64))
    images = [(*everywhere, {"sky": np.ones((SIZE, SIZE), bool)}), *[(*everywhere, {})] * 3]
    row = rows_of(collect(images, np.ones(N, np.float32)))[0]
    assert (row["iou"], row["iou_copresent"], row["precision"]) == (0.25, 1.0, 0.25)


def test_delta_method_error_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    images, act_max = [random_image(rng) for _ in range(400)], np.ones(N, np.float32)
    row = next(r for r in rows_of(collect(images, act_max)) if r["label"] == "sky" and r["cid"] == 2)
    pairs = [(pixels_on(v, x, act_max, 2), m.get("sky", np.zeros((SIZE, SIZE), bool))) for v, x, m in images]
    for name, of in (("iou_se", pairs), ("iou_heldout_se", pairs[1::2])):
        sums = np.array([((on & m).sum(), (on | m).sum()) for on, m in of], float)
        drawn = sums[rng.integers(len(sums), size=(3000, len(sums)))].sum(1)
        assert row[name] == pytest.approx((drawn[:, 0] / drawn[:, 1]).std(), rel=0.08)


def test_memory_does_not_grow_with_the_images():
    rng = np.random.default_rng(0)

    def size(images):
        stats = collect([random_image(rng) for _ in range(images)], np.ones(N, np.float32))
        arrays = [*stats.pairs.values(), *(a for s in stats.labels.values() for a in vars(s).values())]
        arrays.append(stats.places.products_CQQ)
        return sum(a.nbytes for a in [*arrays, stats.on, stats.on2, stats.on_images, stats.on_cells, stats.images])

    assert size(20) == size(200)


# Every sum of a pair, by the definition of its name


WIDE, FINE_CELL = (8, 8), 4  # levels of 16 and 64 cells can be reached


def wide_image(rng):
    """Concept c on in a number of cells at or beside a level; masks from nothing to everything."""
    sizes = rng.permutation([0, 1, 3, 4, 5, 15, 16, 17, 63, 64])[:N]
    on = np.zeros((N, 64), bool)
    for concept, size in enumerate(sizes):
        on[concept, rng.permutation(64)[:size]] = True
    labels = [label for label in ("tree", "sky") if rng.random() < 0.8]
    areas = {label: rng.integers(0, FINE_CELL + 1, 64) * (rng.random(64) < rng.random()) for label in labels}
    return on, areas


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_sum_of_a_pair_is_the_one_of_its_name_and_half(seed):
    rng = np.random.default_rng(seed)
    images = [wide_image(rng) for _ in range(5)]
    stats = OverlapStats(N, WIDE, FINE_CELL)
    for prompt_id, (on, areas) in enumerate(images):
        stats.add(prompt_id, np.nonzero(on), areas)
    for label in stats.labels:
        for half in (0, 1):
            found = pair_sums(stats, label, (half,))
            assert tuple(found) == PAIR_SUMS
            for concept in range(N):
                sums = dict.fromkeys(PAIR_SUMS, 0)
                for on, areas in images[half::2]:
                    area = areas.get(label, np.zeros(64, int))
                    cells, size = int(on[concept].sum()), int(area.sum())
                    if not (cells and size):
                        continue
                    inter = sum(int(area[cell]) for cell in range(64) if on[concept, cell])
                    union = FINE_CELL * cells + size - inter
                    sums["n_co"] += 1
                    sums["n_co_4"] += cells > 3
                    sums["n_co_16"] += cells > 15
                    sums["n_co_64"] += cells > 63
                    sums["n_hit"] += 2 * inter > union
                    sums["inter"] += inter
                    sums["inter2"] += inter**2
                    sums["inter_on"] += inter * FINE_CELL * cells
                    sums["inter_label"] += inter * size
                    sums["on_label"] += FINE_CELL * cells * size
                    sums["union_co"] += union
                    sums["meeting"] += inter  # a grid of 8 x 8 is its own places
                assert {name: int(values[concept]) for name, values in found.items()} == sums


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_what_is_summed_for_one_side_alone(seed):
    """Of a concept: pixels, their squares, images at each level, and where; of a label also how full its cells are."""
    rng = np.random.default_rng(seed)
    images = [wide_image(rng) for _ in range(6)]
    stats = OverlapStats(N, WIDE, FINE_CELL)
    for prompt_id, (on, areas) in enumerate(images):
        stats.add(prompt_id, np.nonzero(on), areas)
    assert stats.images.tolist() == [3, 3]
    for half in (0, 1):
        for concept in range(N):
            cells = [int(on[concept].sum()) for on, _ in images[half::2]]
            assert stats.on[half, concept] == sum(4 * count for count in cells)
            assert stats.on2[half, concept] == sum(16 * count * count for count in cells)
            reached = [sum(count >= level for count in cells) for level in (1, 4, 16, 64)]
            assert stats.on_images[half, :, concept].tolist() == reached
        assert np.array_equal(stats.on_cells[half], sum(on.astype(int) for on, _ in images[half::2]))
        for label, sums in stats.labels.items():
            found = [areas[label] for _, areas in images[half::2] if label in areas and areas[label].any()]
            assert sums.pixels[half] == sum(int(a.sum()) for a in found) and sums.images[half] == len(found)
            assert sums.pixels2[half] == sum(int(a.sum()) ** 2 for a in found)
            assert np.array_equal(sums.cells[half], sum(found, np.zeros(64, int)))
    for label, sums in stats.labels.items():
        every = np.concatenate([areas[label] for _, areas in images if label in areas and areas[label].any()])
        assert sums.occupancy.tolist() == [int((every == pixels).sum()) for pixels in range(FINE_CELL + 1)]
        # Which places go together is asked of the selection half alone.
        chosen = [areas[label] for _, areas in images[0::2] if label in areas]
        assert np.array_equal(sums.products, sum((np.outer(a, a) for a in chosen), np.zeros((64, 64), int)))
    for concept in range(N):
        together = sum(np.outer(on[concept], on[concept]).astype(int) for on, _ in images[0::2])
        assert np.array_equal(stats.places.products_CQQ[concept], together)


def test_a_value_at_the_cut_is_on_and_zero_never_is():
    values = np.array([[1.0, 0.5], [0.5, 0.25], [0.0, 0.26]], np.float32)
    latents = np.array([[0, 1], [2, 0], [1, 0]])
    concepts, cells = where_on(values, latents, np.array([1.0, 2.0, 2.0], np.float32), 0.25)
    assert list(zip(concepts.tolist(), cells.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 1), (0, 1), (0, 2)]
    silent = where_on(np.zeros((3, 2), np.float32), latents, np.zeros(3, np.float32), 0.25)
    assert len(silent[0]) == len(silent[1]) == 0 and concepts.dtype == cells.dtype == np.int64


def test_cells_are_counted_row_by_row():
    mask = np.zeros((4, 6), bool)
    mask[0, :5], mask[3, 2] = True, True
    assert cell_areas(mask, (2, 3)).tolist() == [2, 2, 1, 0, 1, 0]
    for shape in ((5, 6), (4, 7)):
        with pytest.raises(ValueError, match="does not divide"):
            cell_areas(np.ones(shape, bool), (2, 3))


def test_cells_of_a_grid_that_is_no_square_are_all_kept():
    stats = OverlapStats(2, (2, 3), 4)
    stats.add(0, (np.array([0, 1]), np.array([5, 1])), {"tree": np.array([0, 0, 0, 0, 0, 3])})
    assert stats.on_cells[0].tolist() == [[0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]]
    assert stats.labels["tree"].cells[0].tolist() == [0, 0, 0, 0, 0, 3]


@pytest.mark.parametrize("other", [(4, (2, 2), 4), (3, (1, 4), 4), (3, (2, 2), 9)])
def test_statistics_of_other_concepts_grids_or_images_do_not_merge(other):
    with pytest.raises(ValueError, match="same concepts, grid and image size"):
        OverlapStats(3, (2, 2), 4).merge(OverlapStats(*other))
