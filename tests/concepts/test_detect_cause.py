"""Detecting beside causing: ranks against scipy's, and best beside best by hand."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from concepts.detect_cause import SCHEMA, detection_and_cause, rank_correlations

SITE = {"block": "up", "t": 0.5, "conditioning": "cond", "k": 8}


def rows_of(detects, causes, labels=None, **more):
    labels = labels or [str(i) for i in range(len(detects))]
    own = {"kind": "global", "window": "middle", **SITE, **more}
    return [
        {**own, "cid": i, "label": label, "iou_heldout": d, "above_random": c}
        for i, (d, c, label) in enumerate(zip(detects, causes, labels, strict=True))
    ]


def test_rank_correlations_are_scipys_ties_included():
    draw = np.random.default_rng(4)
    ones, others = draw.integers(0, 6, (20, 9)).astype(float), draw.normal(size=(20, 9)).round(1)
    known = [spearmanr(one, other).statistic for one, other in zip(ones, others, strict=True)]
    assert np.allclose(rank_correlations(ones, others), known)
    assert np.isnan(rank_correlations(np.ones((1, 5)), others[:1, :5])).all()


def test_the_interval_is_that_of_resampled_concepts():
    draw = np.random.default_rng(5)
    detects = draw.uniform(size=60)
    causes = detects + draw.normal(size=60) * 0.3
    (found,) = detection_and_cause(rows_of(detects, causes), 4000, 0)
    assert found["spearman"] == pytest.approx(spearmanr(detects, causes).statistic) and found["concepts"] == 60
    other = np.random.default_rng(9)
    drawn = [other.integers(60, size=60) for _ in range(4000)]
    known = np.quantile([spearmanr(detects[i], causes[i]).statistic for i in drawn], [0.025, 0.975])
    assert [found["spearman_ci_low"], found["spearman_ci_high"]] == pytest.approx(known, abs=0.02)
    assert found["spearman_ci_low"] > 0.2
    again = detection_and_cause(rows_of(detects, causes), 4000, 0)
    assert again == [found]


def test_numbers_without_a_link_give_an_interval_that_holds_nothing():
    """Of 100 worlds without a link, about 95 intervals should hold 0."""
    draw, held = np.random.default_rng(6), 0
    for _ in range(100):
        (found,) = detection_and_cause(rows_of(draw.uniform(size=40), draw.normal(size=40)), 400, 0)
        held += found["spearman_ci_low"] <= 0 <= found["spearman_ci_high"]
    assert 88 <= held <= 100


def test_the_best_detector_may_be_the_best_cause_or_not():
    """Of tree the second is best in both, of house and dog others are; car has one concept, which proves nothing."""
    labels = ["tree", "tree", "house", "house", "house", "dog", "dog", "car"]
    detects = [0.3, 0.6, 0.9, 0.2, 0.3, 0.5, 0.4, 0.9]
    causes = [0.1, 0.2, 0.1, 0.1, 0.3, -0.2, -0.1, 0.9]
    (found,) = detection_and_cause(rows_of(detects, causes, labels), 100, 0)
    assert (found["labels"], found["best_is_best"]) == (3, pytest.approx(1 / 3))
    assert found["chance"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)


def test_every_kind_window_and_site_is_apart_and_what_lacks_a_number_is_left_out():
    late = rows_of([0.1, 0.2, 0.3], [3.0, 2.0, 1.0], window="final", t=0.0)
    lacking = rows_of([0.4, None], [None, 0.3])
    untried = rows_of([0.5], [None], kind=None, window=None)
    middle = rows_of([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    found = detection_and_cause([*late, *lacking, *untried, *middle], 50, 0)
    assert [(row["window"], row["t"], row["spearman"]) for row in found] == [("final", 0.0, -1.0), ("middle", 0.5, 1.0)]
    assert [row["concepts"] for row in found] == [3, 3]
    assert pa.Table.from_pylist(found, schema=SCHEMA).to_pylist() == found
    (two,) = detection_and_cause(middle[:2], 50, 0)
    assert two["spearman"] is two["spearman_ci_low"] is two["best_is_best"] is None
    (alike,) = detection_and_cause(rows_of([0.2] * 4, [1.0, 2.0, 3.0, 4.0]), 50, 0)
    assert alike["spearman"] is None and detection_and_cause([], 50, 0) == []
