from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from diffusion.edits import Edit
from diffusion.times import in_window, step_of_time, steps_in_window, time_of_step

PAPER = {"early": (0.6, 1.0), "middle": (0.2, 0.6), "final": (0.0, 0.2)}


def test_times_and_steps():
    assert [step_of_time(t, 50) for t in (1.0, 0.5, 0.0)] == [0, 24, 49]
    assert (time_of_step(0, 50), time_of_step(49, 50)) == (1.0, 0.0)


@given(st.integers(2, 1000))
def test_the_papers_windows_share_no_step_and_leave_none_out(steps):
    """16 steps have one at t = 0.6 and one a rounding error below 0.2."""
    found = [step for low, high in PAPER.values() for step in steps_in_window(low, high, steps)]
    assert found == list(range(steps))


@given(st.integers(2, 1000), st.lists(st.integers(1, 998), max_size=6))
def test_windows_that_touch_at_steps_of_the_schedule_share_none(steps, cuts):
    bounds = sorted({0.0, 1.0, *(time_of_step(cut % steps, steps) for cut in cuts)})
    windows = list(pairwise(bounds))
    owners = [[w for w in windows if in_window(time_of_step(step, steps), *w)] for step in range(steps)]
    assert all(len(owner) == 1 for owner in owners)


def test_an_edit_is_active_at_the_steps_of_its_window():
    windows = {name: Edit("mid", low, high, lambda delta, t: delta) for name, (low, high) in PAPER.items()}
    active = {name: [step for step in range(16) if edit.active(step, 16)] for name, edit in windows.items()}
    assert active == {"early": [*range(6)], "middle": [*range(6, 12)], "final": [*range(12, 16)]}
