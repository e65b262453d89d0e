"""How far two sets of vectors are apart, and a source of vectors in memory."""

import numpy as np
import pytest

from benchmarks.noised_vectors import Held, shift, told_apart


def normal(images: int, mean: float, seed: int) -> np.ndarray:
    """Unit normal float16 [images, 50, 4], the first channel moved by ``mean``."""
    x = np.random.default_rng(seed).normal(size=(images, 50, 4))
    x[..., 0] += mean
    return x.astype(np.float16)


def test_a_shift_of_one_channel_is_seen_as_theory_says():
    one, other = normal(200, 0.0, 1), normal(200, 1.0, 2)
    assert shift(one, other) == pytest.approx(1 / np.sqrt(4), abs=0.02)
    assert told_apart(one, other) == pytest.approx(0.6915, abs=0.02)  # Phi(1/2)


def test_equals_are_not_told_apart():
    one, other = normal(200, 0.0, 1), normal(200, 0.0, 2)
    assert shift(one, other) < 0.02 and told_apart(one, other) == pytest.approx(0.5, abs=0.02)


def test_batches_are_all_vectors_once_in_an_order_of_seed_and_epoch():
    source = Held(np.arange(20, dtype=np.float16).reshape(10, 2))
    assert (source.n_vectors, source.d) == (10, 2)
    assert np.array_equal(np.concatenate(list(source.chunks())), source.x_ND)
    whole = np.concatenate(list(source.batches(3, 1, 0)))
    assert len(whole) == 9 and len(np.unique(whole[:, 0])) == 9
    assert np.array_equal(whole[3:], np.concatenate(list(source.batches(3, 1, 0, skip=1))))
    assert not np.array_equal(whole, np.concatenate(list(source.batches(3, 1, 1))))
