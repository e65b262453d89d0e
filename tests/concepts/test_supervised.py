"""The mean difference of updates, against the means of a table written out."""

import numpy as np
import pytest

from concepts.errors import ConceptError
from concepts.supervised import MeanDifference


def test_it_is_the_difference_of_means_over_cells_in_and_out_of_the_label():
    rng = np.random.default_rng(3)
    maps = rng.normal(size=(5, 2, 3, 4)).astype(np.float16)
    areas = [rng.integers(0, 17, 6) for _ in range(4)] + [None]
    means = MeanDifference(4)
    means.add(maps[:2], areas[:2], 16.0)
    means.add(maps[2:], areas[2:], 16.0)
    inside, outside = [], []
    for image in range(5):
        for cell in range(6):
            covered = areas[image] is not None and areas[image][cell] >= 8
            (inside if covered else outside).append(maps[image, cell // 3, cell % 3].astype(float))
    difference = np.mean(inside, 0) - np.mean(outside, 0)
    assert np.allclose(means.direction("tree"), difference / np.linalg.norm(difference))


def test_a_label_that_is_nowhere_or_everywhere_has_none():
    for pixels in (0, 16):
        means = MeanDifference(4)
        means.add(np.ones((1, 2, 3, 4), np.float16), [np.full(6, pixels)], 16.0)
        with pytest.raises(ConceptError, match="label 'tree' is in no cell of the dictionary split, or in all"):
            means.direction("tree")
