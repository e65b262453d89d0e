"""Windows of one length from every onset: their steps, counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concepts.errors import ConceptError
from concepts.onset_grid import onset_windows
from diffusion.times import steps_in_window


@given(st.integers(3, 60), st.floats(0.05, 1.0), st.integers(3, 70))
def test_every_window_begins_at_its_onset_and_holds_as_many_steps_as_there_are(steps, length, most):
    held = max(1, round(length * (steps - 1)))
    windows = onset_windows(steps, length, most)
    found = [steps_in_window(low, high, steps) for low, high in windows]
    assert all(one == list(range(one[0], min(one[0] + held, steps))) for one in found)
    assert found[0][0] == 0 and found[-1] == [steps - 1] and len(windows) == min(most, steps)
    firsts = [one[0] for one in found]
    assert firsts == sorted(set(firsts))
    assert all(high == pytest.approx(1 - one[0] / (steps - 1)) for (_, high), one in zip(windows, found, strict=True))


def test_the_windows_of_the_paper_are_among_them():
    windows = onset_windows(16, 0.4, 16)
    for from_, to in ((0.6, 1.0), (0.2, 0.6), (0.0, 0.2)):
        ((low, high),) = [window for window in windows if window[1] == pytest.approx(to)]
        assert steps_in_window(low, high, 16) == steps_in_window(from_, to, 16)


def test_steps_that_leave_no_curve_are_refused():
    with pytest.raises(ConceptError, match=r"sampling.steps 2 leaves no curve over onsets: take 3 steps or more"):
        onset_windows(2, 1.0, 10)
