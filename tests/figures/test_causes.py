"""What the picture of detecting and causing shows, asked of the axes that it draws."""

import pytest

from figures import causes
from tests.figures.test_temporal import pixels

WINDOWS = ["early", "late"]


def row(window="early", detects=0.4, above=0.5, q=0.01, kind="global"):
    known = above is not None
    ends = {"above_random_ci_low": above - 0.1, "above_random_ci_high": above + 0.2} if known else {}
    return {"kind": kind, "window": window, "iou_heldout": detects, "above_random": above, "q": q, **ends}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Draws rows; returns the axes by (kind, window)."""

    def draw(rows):
        made = []
        monkeypatch.setattr(causes, "save", lambda figure, path: made.append(figure))
        causes.detecting_and_causing(rows, WINDOWS, tmp_path / "picture.png")
        return {tuple(axis.get_title().split(", ")): axis for axis in made[0].axes}

    return draw


def points(axis):
    """(of others, of those that cause): places [detects, causes]."""
    return [[tuple(place) for place in group.get_offsets()] for group in axis.collections[:2]]


def test_blue_are_those_above_random_directions_after_correction(drawn):
    axes = drawn(
        [
            row(detects=0.1, above=0.5, q=0.04),
            row(detects=0.2, above=-0.5, q=0.001),  # takes its label away
            row(detects=0.3, above=0.6, q=0.05),
            row(detects=0.4, above=0.7, q=None),
            row(detects=None, above=0.9),
            row(detects=0.5, above=None, q=None),
            row("late", detects=0.7, above=0.8),
        ]
    )
    others, sure = points(axes["global", "early"])
    assert others == [(0.2, -0.5), (0.3, 0.6), (0.4, 0.7)] and sure == [(0.1, 0.5)]
    assert [text.get_text() for text in axes["global", "early"].texts] == ["1 of 4"]
    (bars,) = axes["global", "early"].collections[2:]
    assert bars.get_segments()[0].ravel() == pytest.approx([0.1, 0.4, 0.1, 0.7])
    assert points(axes["global", "late"]) == [[], [(0.7, 0.8)]]


def test_windows_of_a_kind_have_one_scale_and_kinds_their_own(drawn):
    axes = drawn([row(), row("late", detects=0.9, above=0.9), row(kind="spatial", above=0.01), row("late", 0.2, 0.02)])
    assert list(axes) == [("spatial", "early"), ("spatial", "late"), ("global", "early"), ("global", "late")]
    assert axes["global", "early"].get_ylim() == axes["global", "late"].get_ylim()
    assert axes["global", "early"].get_xlim() == axes["global", "late"].get_xlim()
    assert axes["spatial", "early"].get_ylim()[1] < axes["global", "early"].get_ylim()[1]


def test_pictures_follow_their_rows_and_a_window_may_be_empty(tmp_path):
    of = [
        pixels(causes.detecting_and_causing([row(above=above)], WINDOWS, tmp_path / f"{i}.png"))
        for i, above in enumerate((0.5, 0.5, 0.6))
    ]
    assert of[0].tobytes() == of[1].tobytes() != of[2].tobytes()
