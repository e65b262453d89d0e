"""How far rows stand from their starts, against a brute force over every pair in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sae import start
from sae.start import cosines_to_start, own_start_is_nearest


def brute(rows, starts):
    """Cosine of every row to every start, float64, pair by pair."""
    return np.array([[r @ s / np.sqrt((r @ r) * (s @ s)) for s in starts] for r in rows])


def drawn(seed, m, d, moved):
    """Rows that are a mix of their starts and of noise, of any length."""
    rng = np.random.default_rng(seed)
    starts = rng.normal(size=(m, d)) * rng.uniform(0.5, 3, (m, 1))
    rows = (starts + moved * rng.normal(size=(m, d))) * rng.uniform(0.1, 4, (m, 1))
    return rows.astype(np.float32), starts.astype(np.float32)


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 9), st.floats(0, 5), st.integers(1, 45))
def test_against_every_pair(seed, m, d, moved, block):
    rows, starts = drawn(seed, m, d, moved)
    wanted = brute(rows.astype(float), starts.astype(float))
    ours = cosines_to_start(torch.from_numpy(rows), torch.from_numpy(starts))
    assert ours.dtype == torch.float32 and ours.shape == (m,)
    assert ours.numpy() == pytest.approx(np.diag(wanted), abs=1e-5)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(start, "BLOCK", block)
        nearest = own_start_is_nearest(torch.from_numpy(rows), torch.from_numpy(starts))
    assert nearest.dtype == torch.bool and nearest.shape == (m,)
    others = np.where(np.eye(m, dtype=bool), -2, wanted).max(1)
    clear = abs(np.diag(wanted) - others) > 1e-5  # float32 cannot tell the rest apart
    assert (nearest.numpy() == (np.diag(wanted) > others))[clear].all()


def test_rows_as_drawn_turned_round_and_swapped():
    starts = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    assert cosines_to_start(3 * starts, starts).tolist() == pytest.approx([1] * 6, abs=1e-6)
    assert own_start_is_nearest(3 * starts, starts).all()
    assert cosines_to_start(-starts, starts).tolist() == pytest.approx([-1] * 6, abs=1e-6)
    assert not own_start_is_nearest(-starts, starts).any()
    swapped = starts[[1, 0, 2, 3, 5, 4]]
    assert own_start_is_nearest(swapped, starts).tolist() == [False, False, True, True, False, False]


def test_a_cosine_is_never_beyond_one():
    rows = torch.randn(4096, 7, generator=torch.Generator().manual_seed(1))
    assert cosines_to_start(rows, 0.3 * rows).max() <= 1 and cosines_to_start(rows, -7 * rows).min() >= -1


def test_two_equal_starts_are_both_the_nearest_and_a_row_without_length_stands_at_zero():
    starts = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    rows = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.0, 0.0]])
    assert own_start_is_nearest(rows, starts).tolist() == [True, True, True]
    assert cosines_to_start(rows, starts)[2] == 0


def test_no_more_than_a_block_of_cosines_is_held(monkeypatch):
    """Of 2500 rows a block at a time: every matrix product of the search has at most BLOCK rows."""
    made = []
    matmul = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: made.append(len(a)) or matmul(a, b))
    rows = torch.randn(2500, 4, generator=torch.Generator().manual_seed(2))
    assert own_start_is_nearest(rows, rows).all()
    assert made == [1024, 1024, 452]
