"""Splits by caption: shares hold, nothing moves a prompt, and a source read in steps gives what it gives at once."""

import math
import zlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.errors import StorageError
from storage.growing import grow_prompts
from storage.prompts import PromptSettings
from storage.schemas import SCHEMAS
from storage.splits import place_of, split_of

SHARES = {"train": 0.5, "dictionary": 0.25, "layout": 0.125, "style": 0.125}
NONE = SCHEMAS["prompts"].empty_table()
CAPTIONS = [f"a picture of thing number {i} in a row" for i in range(400)]


def tokens(captions: list[str]) -> list[list[int]]:
    """Words by their letters, whatever their case."""
    return [[zlib.crc32(word.encode()) for word in caption.lower().split()] for caption in captions]


def write(folder: Path, name: str, captions: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"top_caption": captions}), folder / name)


def growing(folder: Path, **more) -> PromptSettings:
    given_ = {"source": str(folder), "split_by": "caption", "splits": SHARES, "shard_size": 8, "max_punsafe": None}
    return PromptSettings.model_validate({**given_, **more})


def grown(folder: Path, known: pa.Table = NONE, **more):
    return grow_prompts(growing(folder, **more), tokens, 77, 0, known)


@pytest.mark.parametrize("name", SHARES)
def test_shares_hold_as_a_binomial_would(name):
    """Of 20,000 captions, within five standard errors."""
    n, share = 20_000, SHARES[name]
    found = sum(split_of(f"caption {i} of many", SHARES) == name for i in range(n))
    assert abs(found - n * share) < 5 * math.sqrt(n * share * (1 - share))


@given(st.text(), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_the_split_is_that_of_the_interval_the_caption_lies_in(caption, weights):
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    at = int(split_of(caption, shares))
    low = sum(weights[:at]) / sum(weights)
    assert low - 1e-9 <= place_of(caption) <= low + shares[str(at)] + 1e-9


@given(st.lists(st.sampled_from(["a", "red", "Tree", "on", "HILL"]), min_size=1))
def test_case_and_spaces_move_nothing(words):
    assert split_of(" ".join(words), SHARES) == split_of(f"  {'   '.join(words).upper()} ", SHARES)


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(60)), cut=st.integers(1, 59))
def test_neither_order_nor_file_boundaries_decide_a_split(tmp_path_factory, order, cut):
    folder = tmp_path_factory.mktemp("source")
    captions = [CAPTIONS[i] for i in order]
    write(folder, "a.parquet", captions[:cut])
    write(folder, "b.parquet", captions[cut:])
    rows = grown(folder, shard_size=2).prompts.to_pylist()
    assert all(row["split"] == split_of(row["caption"], SHARES) for row in rows)


@settings(max_examples=8, deadline=None)
@given(cuts=st.tuples(st.integers(120, 250), st.integers(250, 400)), repeats=st.lists(st.integers(0, 399), max_size=9))
def test_three_steps_give_the_prompts_of_one(tmp_path_factory, cuts, repeats):
    folder = tmp_path_factory.mktemp("source")
    captions = CAPTIONS + [CAPTIONS[i].upper() for i in repeats]
    known, shards = NONE, ()
    for number, (first, last) in enumerate(zip((0, *cuts), (*cuts, len(captions)), strict=True)):
        write(folder, f"{number}.parquet", captions[first:last])
        growth = grown(folder, known)
        assert known.equals(pa.concat_tables([known, growth.prompts]).slice(0, known.num_rows))  # it only appends
        known, shards = pa.concat_tables([known, growth.prompts]), shards + growth.shards
        assert growth.gone == 0
    at_once = grown(folder)
    assert known.equals(at_once.prompts) and shards == at_once.shards
    assert len(set(known["caption"].to_pylist())) == known.num_rows


def test_shards_are_full_and_of_one_split_and_the_rest_waits(tmp_path):
    write(tmp_path, "a.parquet", CAPTIONS)
    growth = grown(tmp_path)
    rows = growth.prompts.to_pylist()
    assert [row["prompt_id"] for row in rows] == list(range(8 * len(growth.shards)))
    assert all({row["split"] for row in rows[8 * i : 8 * i + 8]} == {s} for i, s in enumerate(growth.shards))
    of_split = Counter(split_of(caption, SHARES) for caption in CAPTIONS)
    assert growth.waiting == {name: count % 8 for name, count in of_split.items() if count % 8}


def test_what_vanished_or_changed_is_counted_and_stays(tmp_path):
    write(tmp_path, "a.parquet", CAPTIONS)
    known = grown(tmp_path).prompts
    first, second = known["caption"].to_pylist()[:2]
    kept = [f"{c} and more" if c == first else c for c in CAPTIONS if c != second]
    write(tmp_path, "a.parquet", kept)
    growth = grown(tmp_path, known)
    assert growth.gone == 2 and first not in growth.prompts["caption"].to_pylist()


def test_a_caption_of_other_case_is_the_same_prompt(tmp_path):
    write(tmp_path, "a.parquet", CAPTIONS)
    known = grown(tmp_path).prompts
    write(tmp_path, "a.parquet", [caption.upper() for caption in CAPTIONS])
    growth = grown(tmp_path, known)
    assert (growth.gone, growth.prompts.num_rows) == (0, 0)


def test_seeds_follow_from_the_caption_alone(tmp_path):
    write(tmp_path / "one", "a.parquet", CAPTIONS)
    write(tmp_path / "two", "a.parquet", CAPTIONS[::-1])
    one, two = (grown(tmp_path / name).prompts.to_pylist() for name in ("one", "two"))
    seeds = {row["caption"]: row["seed"] for row in one}
    assert any(seeds.get(row["caption"]) for row in two)
    assert all(seeds.get(row["caption"], row["seed"]) == row["seed"] for row in two)


def test_a_first_source_that_leaves_a_split_empty_is_refused(tmp_path):
    write(tmp_path, "a.parquet", CAPTIONS[:20])
    with pytest.raises(StorageError, match=r"20 usable captions among 20 rows, too few .* lower prompts.shard_size"):
        grown(tmp_path)


@pytest.mark.parametrize(
    ("splits", "by", "said"),
    [
        ({"train": 16, "dictionary": 8}, "caption", "shares of the captions, each between 0 and 1"),
        ({"train": 0.5, "dictionary": 0.25}, "caption", "make 1 together, got 0.75"),
        ({"train": 0.5, "dictionary": 0.5}, "order", "prompts.split_by: caption"),
        ({"train": 0, "dictionary": 4}, "order", "at least 1 each"),
    ],
)
def test_contradictions_are_said(splits, by, said):
    with pytest.raises(ValidationError, match=said):
        PromptSettings.model_validate({"source": "x", "splits": splits, "split_by": by})


def test_whole_numbers_stay_whole():
    splits = PromptSettings.model_validate({"source": "x", "splits": {"train": 16.0, "style": "4"}}).splits
    assert [type(size) for size in splits.values()] == [int, int]
