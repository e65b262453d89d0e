"""Grids against pixels and cells counted one by one; tags of one label merged."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.ceiling import iou_ceiling
from vision.grids import area_of, divides, filled_cells, grid_name, mean_colours
from vision.types import Tag, distinct


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_mean_colours_round_halves_up(rows, columns, cell, seed):
    image = np.random.default_rng(seed).integers(0, 256, (rows * cell, columns * cell, 3), dtype=np.uint8)
    found = mean_colours(image, (rows, columns)).reshape(rows, columns, 3)
    for r in range(rows):
        for c in range(columns):
            tile = image[r * cell : (r + 1) * cell, c * cell : (c + 1) * cell].reshape(-1, 3)
            assert found[r, c].tolist() == np.floor(tile.mean(0) + 0.5).tolist()


def test_cells_are_named_and_numbered_by_rows_first():
    assert grid_name((8, 16)) == "8x16"
    image = np.arange(6, dtype=np.uint8).repeat(3).reshape(2, 3, 3)
    assert mean_colours(image, (2, 3))[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert mean_colours(image, (1, 3))[:, 0].tolist() == [2, 3, 4]  # 1.5, 2.5 and 3.5
    assert mean_colours(image, (2, 1))[:, 0].tolist() == [1, 4]
    white = mean_colours(np.full((512, 512, 3), 255, np.uint8), (1, 1))
    assert white.dtype == np.uint8 and white.tolist() == [[255, 255, 255]]  # sums beyond 16 bits


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 7), st.integers(1, 7))
def test_a_grid_divides_what_it_can_be_laid_over_without_a_rest(rows, columns, height, width):
    whole = height in [rows * n for n in range(8)] and width in [columns * n for n in range(8)]
    assert divides((rows, columns), (height, width)) == whole
    if not whole:
        with pytest.raises(ValueError, match=f"a {rows}x{columns} grid does not divide a {height}x{width} image"):
            iou_ceiling(np.ones((height, width), bool), (rows, columns))


def test_no_cells_reach_a_mask_of_nothing():
    assert iou_ceiling(np.zeros((4, 4), bool), (2, 2)) == 0.0


@given(st.integers(1, 4), st.integers(1, 4), st.data())
def test_areas_come_back_from_their_filled_cells(rows, columns, data):
    area = data.draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns))
    cells, pixels = filled_cells(np.array(area))
    assert [(c, p) for c, p in enumerate(area) if p] == list(zip(cells, pixels, strict=True))
    found = area_of(np.array(cells, int), np.array(pixels, int), (rows, columns))
    assert found.dtype == np.int64 and found.tolist() == area


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4))))
def test_merging_tags(pairs):
    merged = distinct([Tag(label, score / 4) for label, score in pairs])
    assert {tag.label: tag.score for tag in merged} == {a: max(s for b, s in pairs if a == b) / 4 for a, _ in pairs}
    assert merged == sorted(merged, key=lambda tag: (-tag.score, tag.label)) and len(merged) == len(dict(pairs))
