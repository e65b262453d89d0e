"""Overlap statistics against pixels counted one by one, and intervals against the bootstrap and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts.assign import assign
from concepts.overlap import OverlapStats, activation_map_on, cell_areas
from concepts.settings import LabelSettings

GRID, SIZE, N = (4, 4), 16, 5


def random_image(rng):
    values = rng.random((16, 2)).astype(np.float32) * (rng.random((16, 2)) < 0.7)
    indices = np.stack([rng.permutation(N)[:2] for _ in range(16)])
    masks = {label: rng.random((SIZE, SIZE)) < 0.4 for label in ("tree", "sky") if rng.random() < 0.8}
    return values, indices, masks


def collect(images, act_max, ids=None):
    stats = OverlapStats(["sky", "tree"], N, GRID)
    for number, (values, indices, masks) in enumerate(images):
        on = activation_map_on(values, indices, act_max, 0.1)
        prompt_id = ids[number] if ids else number
        stats.add(prompt_id, on, {k: cell_areas(m, GRID) for k, m in masks.items()}, SIZE * SIZE)
    return stats


def pixels_on(values, indices, act_max, cid):
    on = np.zeros(16, bool)
    for cell in range(16):
        for slot in range(2):
            v = values[cell, slot]
            if indices[cell, slot] == cid and v > 0 and v >= 0.1 * act_max[cid]:
                on[cell] = True
    return np.kron(on.reshape(GRID), np.ones((4, 4), bool)).astype(bool)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_number_equals_a_count_over_pixels(seed):
    rng = np.random.default_rng(seed)
    images, act_max = [random_image(rng) for _ in range(6)], rng.random(N).astype(np.float32) + 0.3
    found = {(r["cid"], r["label"]): r for r in collect(images, act_max).rows()}
    nothing = np.zeros((SIZE, SIZE), bool)
    for cid in range(N):
        for label in ("sky", "tree"):
            pairs = [(pixels_on(v, x, act_max, cid), m.get(label, nothing)) for v, x, m in images]
            both = [(on, m) for on, m in pairs if m.any() and on.any()]
            inter = sum(int((on & m).sum()) for on, m in pairs)
            if not inter:
                assert (cid, label) not in found
                continue
            row = found[cid, label]
            assert row["iou"] == pytest.approx(inter / sum(int((on | m).sum()) for on, m in pairs))
            assert row["iou_copresent"] == pytest.approx(inter / sum(int((on | m).sum()) for on, m in both))
            for name, half in (("iou_selection", pairs[0::2]), ("iou_heldout", pairs[1::2])):
                union = sum(int((on | m).sum()) for on, m in half)
                assert row[name] == pytest.approx(sum(int((on & m).sum()) for on, m in half) / max(union, 1))
            assert row["n_co"] == len(both)
            assert row["n_hit50"] == sum((on & m).sum() > 0.5 * (on | m).sum() for on, m in both)
            assert row["precision"] == pytest.approx(inter / sum(int(on.sum()) for on, _ in pairs))
            assert row["recall"] == pytest.approx(inter / sum(int(m.sum()) for _, m in pairs))
            on_share = sum(on.astype(float) for on, _ in pairs)
            label_share = sum(m.astype(float) for _, m in pairs)
            assert row["lift"] == pytest.approx(inter / ((on_share * label_share).sum() / len(pairs)))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(0, 8), order=st.permutations(range(8)))
def test_merging_in_any_order_is_exact(seed, cut, order):
    rng = np.random.default_rng(seed)
    images, act_max = [random_image(rng) for _ in range(8)], np.ones(N, np.float32)
    whole = collect(images, act_max)
    left = collect([images[i] for i in order[:cut]], act_max, list(order[:cut]))
    left.merge(collect([images[i] for i in order[cut:]], act_max, list(order[cut:])))
    assert left.rows() == whole.rows()


def test_halves_are_kept_apart():
    mask = np.ones((SIZE, SIZE), bool)
    half = np.zeros((16, 1), np.float32)
    half[:8] = 1
    index = np.zeros((16, 1), np.int64)
    images = [(np.ones((16, 1), np.float32), index, {"sky": mask}), (half, index, {"sky": mask})]
    row = collect(images, np.ones(N, np.float32)).rows()[0]
    assert (row["iou_selection"], row["iou_heldout"], row["iou"]) == (1.0, 0.5, 0.75)


def test_a_concept_that_fires_everywhere_pays_for_the_images_without_the_label():
    everywhere = (np.ones((16, 1), np.float32), np.zeros((16, 1), np.int64))
    images = [(*everywhere, {"sky": np.ones((SIZE, SIZE), bool)}), *[(*everywhere, {})] * 3]
    row = collect(images, np.ones(N, np.float32)).rows()[0]
    assert (row["iou"], row["iou_copresent"], row["precision"]) == (0.25, 1.0, 0.25)


def test_delta_method_error_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    images, act_max = [random_image(rng) for _ in range(400)], np.ones(N, np.float32)
    row = next(r for r in collect(images, act_max).rows() if r["label"] == "sky" and r["cid"] == 2)
    pairs = [(pixels_on(v, x, act_max, 2), m.get("sky", np.zeros((SIZE, SIZE), bool))) for v, x, m in images]
    sums = np.array([((on & m).sum(), (on | m).sum()) for on, m in pairs], float)
    drawn = sums[rng.integers(len(sums), size=(3000, len(sums)))].sum(1)
    assert row["iou_se"] == pytest.approx((drawn[:, 0] / drawn[:, 1]).std(), rel=0.08)


def test_a_grid_that_does_not_divide_the_image_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        cell_areas(np.ones((10, 10), bool), (4, 4))


def test_rules():
    row = {
        "cid": 0,
        "label": "sky",
        "iou": 0.4,
        "iou_se": 0.01,
        "iou_selection": 0.4,
        "se_selection": 0.01,
        "iou_heldout": 0.4,
        "precision": 1.0,
        "recall": 1.0,
        "lift": 2.0,
        "n_co": 9,
        "n_hit50": 0,
    }
    changes = [{}, {"n_co": 1}, {"lift": 1.1}, {"iou_selection": 0.2}, {"se_selection": 0.3}, {"n_hit50": 1}]
    ruled = assign([{**row, **change} for change in changes], LabelSettings())
    assert [r["assigned"] for r in ruled] == [True, False, False, False, False, True]
    assert [r["paper_assigned"] for r in ruled] == [False] * 5 + [True]
