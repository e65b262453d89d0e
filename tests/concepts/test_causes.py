"""Causal scores against scipy's paired test on the same numbers, and against nulls of known size."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control, ttest_rel

from concepts.causes import cause_rows

RNG = np.random.default_rng(6)


def test_a_row_is_the_paired_test_against_the_mean_of_random_directions():
    effects = {3: RNG.normal(0.5, 0.1, 8), 7: RNG.normal(0.0, 0.1, 8), 9: RNG.normal(-0.3, 0.1, 8)}
    labels = {3: "tree", 7: "tree", 9: "night"}
    random = {"tree": RNG.normal(0.1, 0.1, (5, 8)), "night": RNG.normal(0.0, 0.1, (5, 8))}
    rows = {row["cid"]: row for row in cause_rows(effects, labels, random)}
    for cid, effect in effects.items():
        null = random[labels[cid]].mean(0)
        expected = ttest_rel(effect, null)
        interval = expected.confidence_interval(0.95)
        row = rows[cid]
        assert row["p"] == pytest.approx(expected.pvalue) and row["label"] == labels[cid] and row["n_prompts"] == 8
        assert (row["above_random_ci_low"], row["above_random_ci_high"]) == pytest.approx((interval.low, interval.high))
        assert row["effect"] == pytest.approx(effect.mean()) and row["random_effect"] == pytest.approx(null.mean())
        assert row["above_random"] == pytest.approx(effect.mean() - null.mean())
    assert [r["q"] for r in rows.values()] == pytest.approx(
        list(false_discovery_control([r["p"] for r in rows.values()]))
    )
    assert rows[3]["above_random"] > 0 > rows[9]["above_random"]


def test_without_an_effect_p_is_uniform():
    effects = {cid: RNG.normal(0, 0.1, 10) for cid in range(800)}
    random = {"tree": RNG.normal(0, 0.1, (400, 10))}
    p = np.array([row["p"] for row in cause_rows(effects, dict.fromkeys(effects, "tree"), random)])
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.025) and (p < 0.5).mean() == pytest.approx(0.5, abs=0.06)


def test_what_is_the_same_everywhere_says_nothing_and_nothing_gives_nothing():
    (row,) = cause_rows({1: np.full(4, 0.2)}, {1: "sky"}, {"sky": np.zeros((2, 4))})
    assert row["p"] == row["q"] == 1.0 and row["above_random"] == pytest.approx(0.2)
    assert cause_rows({}, {}, {}) == []
