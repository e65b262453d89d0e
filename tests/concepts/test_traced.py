"""Sets of blocks grown and chosen by what comes through them, against every set tried by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from concepts.intervals import cluster_interval
from concepts.traced import Pairs, chosen_blocks, grown_sets, traced_rows

BLOCKS = ("down", "mid", "up")


def additive(carried):
    """Effects on four pairs of blocks that each carry their own part."""
    return lambda sets: {blocks: np.full(4, sum(carried[block] for block in blocks)) for blocks in sets}


def test_a_set_grows_by_the_block_that_adds_most():
    asked = []

    def effects(sets):
        asked.extend(sets)
        return additive({"down": 0.1, "mid": 0.4, "up": 0.3})(sets)

    tried = grown_sets(BLOCKS, effects, 3)
    assert list(tried) == [("down",), ("mid",), ("up",), ("mid", "up"), ("mid", "up", "down")]
    assert [float(one[0]) for one in tried.values()] == pytest.approx([0.1, 0.4, 0.3, 0.7, 0.8])
    assert len(asked) == len(set(asked)) == 3 + 2 + 1
    assert list(grown_sets(BLOCKS, effects, 1)) == [("down",), ("mid",), ("up",)]
    assert max(map(len, grown_sets(BLOCKS, effects, 9))) == 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5, unique=True))
def test_of_parts_that_add_up_the_grown_sets_are_the_best_of_their_size(parts):
    carried = dict(zip("abcde", parts, strict=False))
    effects = additive(carried)
    tried = grown_sets(tuple(carried), effects, len(carried))
    for size in range(1, len(carried) + 1):
        best = max(one[0] for one in effects(list(combinations(carried, size))).values())
        assert max(effects[0] for one, effects in tried.items() if len(one) == size) == pytest.approx(best)


def test_the_smallest_set_within_an_error_of_the_best_is_chosen():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.2, 16)
    tried = {("down",): noise + 0.1, ("mid",): noise + 0.5, ("mid", "up"): noise + 0.5 + rng.normal(0.005, 0.1, 16)}
    less = tried["mid", "up"] - tried["mid",]
    assert less.mean() <= less.std(ddof=1) / 4  # sixteen pairs
    assert chosen_blocks(tried) == ("mid",)
    tried["mid", "up"] = tried["mid",] + 0.1 + rng.normal(0, 0.01, 16)  # more than a ninth, and sure
    assert chosen_blocks(tried) == ("mid", "up")
    tried["mid", "up"] = tried["mid",] * 1.05 + 0.02  # as sure, but not worth another block
    assert tried["mid",].mean() > 0.9 * tried["mid", "up"].mean() and chosen_blocks(tried) == ("mid",)
    assert chosen_blocks({("down",): np.array([0.2]), ("mid",): np.array([0.3])}) == ("mid",)
    equal = {("down",): np.array([0.4, 0.5]), ("mid",): np.array([0.5, 0.4]) + 1e-3}
    assert chosen_blocks(equal) == ("mid",)


def test_a_row_tells_of_a_set_beside_what_the_other_caption_does():
    tried = {("mid",): np.array([0.1, 0.3, 0.5, 0.5]), ("mid", "up"): np.array([0.8, 0.8, 0.8, 0.9])}
    pairs = Pairs(np.array([1.0, 0.8, 1.0, 0.9]), [7, 7, 8, 9])
    one, two = traced_rows(tried, chosen_blocks(tried), pairs, 200, 3)
    assert (one["blocks"], one["n_blocks"], two["blocks"], two["n_blocks"]) == ("mid", 1, "mid+up", 2)
    assert (one["chosen"], two["chosen"]) == (False, True)
    assert one["effect"] == pytest.approx(0.35) and one["share"] == pytest.approx(0.35 / 0.925)
    assert (one["n"], one["n_prompts"], one["ceiling"]) == (4, 3, pytest.approx(0.925))
    assert (one["effect_ci_low"], one["effect_ci_high"]) == cluster_interval(
        tried["mid",], [7, 7, 8, 9], 200, 3, (-1, 1)
    )
    nothing = traced_rows(tried, chosen_blocks(tried), Pairs(np.zeros(4), [1, 2, 3, 4]), 200, 3)
    assert all(row["share"] is None for row in nothing)


def pairs_apart(by, best=1.0):
    """Effects of one block, below those of two by the differences given."""
    less = np.array(by, float)
    return {("mid",): best - less, ("mid", "up"): np.full(len(less), float(best))}


@pytest.mark.parametrize(
    ("less", "chosen"),
    [
        ([0.1, 0.1], ("mid",)),  # nine tenths to the last bit
        ([0.4 + 0.75, 0.4 - 0.75] * 2, ("mid",)),  # a mean of .4, a standard error of .75 / sqrt(3) = .433
        ([0.4 + 0.65, 0.4 - 0.65] * 2, ("mid", "up")),  # .375
        ([-0.1, 0.9], ("mid",)),  # two pairs: .4, and an error of .5
        ([0.5], ("mid", "up")),  # of one pair no error is known
    ],
)
def test_a_block_less_is_enough_by_nine_tenths_or_by_one_standard_error(less, chosen):
    assert chosen_blocks(pairs_apart(less)) == chosen


def test_where_nothing_comes_through_the_best_is_its_own_equal():
    assert chosen_blocks(pairs_apart([0.0], best=-1.0)) == ("mid",)


@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_of_effects_that_are_all_as_large_as_can_be_the_interval_is_that_of_as_many_agreeing_prompts(end):
    """As Clopper and Pearson have it of tries that all succeed, over the whole width of a change of a probability."""
    (row,) = traced_rows({("mid",): np.full(4, end)}, ("mid",), Pairs(np.ones(4), [1, 2, 3, 4]), 200, 3)
    inner = end - 2 * end * (1 - 0.025 ** (1 / 4))
    assert (row["effect_ci_low"], row["effect_ci_high"]) == pytest.approx((min(end, inner), max(end, inner)))
