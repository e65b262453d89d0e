"""The atlas's pictures are drawn of their data alone, and show what they were given."""

import numpy as np
from PIL import Image

from figures import temporal


def points(shift, lengths=(0.4,)):
    return [
        {"length": length, "kind": kind, "control": control, "onset": onset, "success": s}
        | {"low": s * 0.8, "high": min(1, s * 1.1)}
        for length in lengths
        for kind in ("spatial", "global")
        for control in ("none", "random_direction", "neurons")
        for onset in (1.0, 0.6, 0.2)
        for s in [max(0.0, onset - shift) if control != "random_direction" else 0.05]
    ]


HALVES = {(0.4, "spatial", "none"): {"tau50": 0.5, "tau50_ci_low": 0.4, "tau50_ci_high": 0.55, "never": 0.0}}
LASTING = {(0.4, "spatial", "none"): {**HALVES[0.4, "spatial", "none"], "never": 0.9}}


def pixels(path):
    return np.asarray(Image.open(path))


def test_curves_follow_their_rows(tmp_path):
    one, again, other, half, lasting = (
        pixels(temporal.onset_curves(rows, halves, tmp_path / f"{i}.png"))
        for i, (rows, halves) in enumerate(
            [(points(0), {}), (points(0), {}), (points(0.2), {}), (points(0), HALVES), (points(0), LASTING)]
        )
    )
    assert np.array_equal(one, again) and one.std() > 10
    assert one.shape != other.shape or not np.array_equal(one, other)
    assert one.shape != half.shape or not np.array_equal(one, half)
    assert np.array_equal(one, lasting)  # what does not halve is not marked


def test_every_length_has_panels_of_its_own(tmp_path):
    one, two = (
        pixels(temporal.onset_curves(points(0, lengths), {}, tmp_path / f"{len(lengths)}.png"))
        for lengths in ((0.4,), (0.4, 0.2))
    )
    assert two.shape[0] > 1.6 * one.shape[0] and abs(two.shape[1] - one.shape[1]) < 30


def test_layouts_follow_their_rows(tmp_path):
    def rows(shift):
        return [
            {"conditioning": half, "block": block, "t": t, "iou": t * shift, "iou_ci_low": -0.1, "iou_ci_high": 0.3}
            for half in ("cond", "uncond")
            for block in ("mid", "up")
            for t in (1.0, 0.5, 0.0)
        ]

    one, again, other = (
        pixels(temporal.layout_over_time(rows(shift), tmp_path / f"{i}.png")) for i, shift in enumerate((0.1, 0.1, 0.2))
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other) and one.std() > 10


def test_traces_follow_their_rows(tmp_path):
    def cells(value):
        return [
            {"method": m, "kind": k, "blocks": b, "window": w, "share": value}
            for m in ("switch", "patch")
            for k in ("global", "spatial")
            for b in ("mid 0", "up 1.0 + mid 0", "all")
            for w in ("all", "early")
        ]

    one, again, other = (
        pixels(temporal.causal_traces(cells(v), ["all", "early"], tmp_path / f"{i}.png"))
        for i, v in enumerate((0.2, 0.2, 0.9))
    )
    assert np.array_equal(one, again) and not np.array_equal(one, other)
