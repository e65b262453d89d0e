"""Windows of one length from every onset: their steps, counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concepts.errors import ConceptError
from concepts.onset_grid import onset_windows
from diffusion.times import steps_in_window


@given(st.integers(4, 60), st.floats(0.05, 0.6), st.integers(3, 40))
def test_every_window_holds_as_many_steps_and_begins_at_its_onset(steps, length, most):
    held = max(1, round(length * (steps - 1)))
    if steps - held + 1 < 3:
        return
    windows = onset_windows(steps, length, most)
    found = [steps_in_window(low, high, steps) for low, high in windows]
    assert all(len(one) == held and one == list(range(one[0], one[0] + held)) for one in found)
    assert found[0][0] == 0 and found[-1][-1] == steps - 1 and len(windows) == min(most, steps - held + 1)
    firsts = [one[0] for one in found]
    assert firsts == sorted(set(firsts))
    assert all(high == pytest.approx(1 - one[0] / (steps - 1)) for (_, high), one in zip(windows, found, strict=True))


def test_the_windows_of_the_paper_are_among_them():
    windows = onset_windows(16, 0.4, 16)
    assert len(windows) == 11
    assert [steps_in_window(low, high, 16) for low, high in windows if high == pytest.approx(0.6)] == [
        steps_in_window(0.2, 0.6, 16)
    ]


def test_a_length_that_leaves_no_curve_is_refused():
    with pytest.raises(ConceptError, match=r"atlas.length 1 leaves 2 onsets of sampling.steps 4: make it shorter"):
        onset_windows(4, 1.0, 10)
