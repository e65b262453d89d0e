"""The picture of success against damage is drawn of its data alone, and shows each point where it lies."""

import numpy as np
import pytest

from figures import damage

WINDOWS = ["early", "final"]


def rows(success=0.5, **more):
    """Two kinds, two windows, three controls; of global edits the places are not known."""
    found = []
    for kind in ("spatial", "global"):
        for number, control in enumerate(("none", "random_direction", "neurons")):
            for window in WINDOWS:
                row = {"kind": kind, "window": window, "control": control}
                values = {"success": success, "layout_iou": 0.9, "fidelity_lost": 0.1 * number, "off_distribution": 8.0}
                values |= {"layout_iou": None} if kind == "global" else {}
                for name, value in (values | more).items():
                    ends = (None, None) if value is None or control == "neurons" else (value - 0.1, value + 0.2)
                    row |= {name: value, f"{name}_ci_low": ends[0], f"{name}_ci_high": ends[1]}
                found.append(row)
    return found


def test_the_picture_follows_its_rows(tmp_path):
    one, again, other = (
        damage.edit_damage(rows(success), WINDOWS, tmp_path / f"{i}.png").read_bytes()
        for i, success in enumerate((0.5, 0.5, 0.7))
    )
    assert one == again != other


def test_a_point_lies_at_its_cost_and_its_success(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(damage, "save", lambda figure, path: kept.append(figure) or path)
    damage.edit_damage(rows(), WINDOWS, tmp_path / "a.png")
    (figure,) = kept
    spatial, glob = figure.axes[:3], figure.axes[3:]
    assert [axis.get_ylabel() for axis in (spatial[0], glob[0])] == [
        f"success of {k} edits" for k in ("spatial", "global")
    ]
    assert [len(axis.containers) for axis in figure.axes] == [6, 6, 6, 0, 6, 6]
    point, _, (across, up) = spatial[0].containers[0]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0.9, 0.5)
    assert across.get_segments()[0][:, 0] == pytest.approx([0.8, 1.1])
    assert up.get_segments()[0][:, 1] == pytest.approx([0.4, 0.7])
    without = glob[1].containers[4]  # of neurons: no interval, no bar
    assert np.ptp(without[2][0].get_segments()[0][:, 0]) == 0 and without[0].get_xdata()[0] == pytest.approx(0.2)
    assert spatial[0].get_xlim()[0] > spatial[0].get_xlim()[1] and glob[2].get_xscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "by concepts", "random direction", "neurons", *WINDOWS,
    ]  # fmt: skip
    markers = {container[0].get_marker() for container in spatial[1].containers}
    assert len(markers) == 2
