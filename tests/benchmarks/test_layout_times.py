"""The rows that are drawn are those of one difference over small labels, in the order of the configuration."""

from PIL import Image

from benchmarks import layout_times
from study.config import load_config
from study.opening import open_or_create
from tests.parts import add_part
from tests.paths import ROOT

SCORES = ("iou", "iou_ci_low", "iou_ci_high", "iou_all", "iou_all_ci_low", "iou_all_ci_high")


def row(block, t, half="cond", label="* small", method="posterior - noise", kind="trained", k=4, iou=0.1):
    key = {"block": block, "t": t, "conditioning": half, "k": k, "kind": kind, "label": label, "method": method}
    return {**key, "threshold": None, **dict.fromkeys(SCORES, iou), "n": 5, "n_undetected": 0}


def test_what_is_drawn(tmp_path, capsys):
    root = tmp_path / "study"
    open_or_create(root, load_config(ROOT / "configs" / "tiny.yaml"))
    picture = tmp_path / "a.png"
    assert layout_times.main([str(root), str(picture)]) == 2
    assert "has no 'posterior - noise' of '* small'" in capsys.readouterr().out and not picture.exists()
    wanted = [("mid", 1.0), ("mid", 0.0), ("up", 1.0), ("up", 0.0)]
    others = [{"label": "*"}, {"method": "posterior"}, {"kind": "untrained"}, {"k": 8}]
    rows = [row(block, t, iou=t) for block, t in reversed(wanted)] + [row("up", 1.0, **other) for other in others]
    add_part(root, "layout_scores", "a", rows)
    points = layout_times.points(root, "posterior - noise")
    assert [(p["block"], p["t"]) for p in points] == wanted and [p["iou"] for p in points] == [1.0, 0.0, 1.0, 0.0]
    assert layout_times.main([str(root), str(picture)]) == 0
    with Image.open(picture) as image:
        assert min(image.size) > 100
