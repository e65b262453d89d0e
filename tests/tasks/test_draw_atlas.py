"""Means, shares and names of blocks behind the atlas's pictures."""

import numpy as np
import pytest

from concepts.intervals import cluster_interval
from tasks.draw_atlas import onset_points, short_name, trace_shares


def test_blocks_have_short_names_in_the_order_of_the_model():
    assert short_name("down_blocks.0.attentions.1") == "down 0.1" and short_name("mid_block.attentions.0") == "mid 0"
    assert (
        short_name("up_blocks.1.attentions.0+mid_block.attentions.0") == "up 1.0 + mid 0" and short_name("*") == "all"
    )
    sizes = {"*": 7, "up_blocks.0.attentions.0+mid_block.attentions.0": 2}
    paths = ["*", "up_blocks.0.attentions.0", "up_blocks.0.attentions.0+mid_block.attentions.0"]
    paths += ["mid_block.attentions.0", "down_blocks.0.attentions.1", "down_blocks.0.attentions.0"]
    rows = [{"blocks": p, "n_blocks": sizes.get(p, 1), "effect": 0.2, "ceiling": 0.8} for p in paths]
    shown = trace_shares(rows)
    assert [r["blocks"] for r in shown] == ["down 0.0", "down 0.1", "mid 0", "up 0.0", "up 0.0 + mid 0", "all"]
    assert {r["share"] for r in shown} == {0.25}


def test_a_point_is_the_mean_over_cases_with_its_interval_over_prompts():
    rows = [
        {"length": length, "kind": "global", "control": "none", "onset": onset, "prompt_id": p}
        | {"success": (p + look) % 3 > 0 and length > 0.3}
        for length in (0.4, 0.2)
        for onset in (1.0, 0.5)
        for p in range(6)
        for look in range(2)
    ]
    points = onset_points(rows, 200, 7)
    assert [(p["length"], p["onset"], p["success"]) for p in points] == [
        *((0.4, onset, pytest.approx(2 / 3)) for onset in (1.0, 0.5)),
        *((0.2, onset, 0.0) for onset in (1.0, 0.5)),
    ]
    first = [r for r in rows if (r["length"], r["onset"]) == (0.4, 1.0)]
    success, prompts = [float(r["success"]) for r in first], [r["prompt_id"] for r in first]
    assert (points[0]["low"], points[0]["high"]) == cluster_interval(np.array(success), prompts, 200, 7)
