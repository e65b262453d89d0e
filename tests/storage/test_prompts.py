import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import StorageError
from storage.prompts import PromptSettings, plan_prompts, prompt_seed


def write(path, captions, punsafe=None, column="top_caption", group=3):
    table = pa.table({column: pa.array(captions, pa.string()), "punsafe": punsafe or [0.0] * len(captions)})
    pq.write_table(table, path, row_group_size=group)
    return str(path)


def plan(source, sizes, **given):
    settings = PromptSettings(source=source, splits=sizes, **given)
    return plan_prompts(settings, lambda captions: [len(c.split()) + 2 for c in captions], seed=5)


def test_filters_and_splits(tmp_path):
    captions = ["one two three", None, "", "  ", "too short", "One Two THREE", "four five six", "unsafe words here"]
    captions += [
        " ".join(["long"] * 90),
        "красная машина на траве",
        "草の上に赤い車がある風景写真です",
        "seven eight nine",
    ]
    unsafe = [0.9 if c == "unsafe words here" else 0.0 for c in captions]
    table = plan(write(tmp_path / "a.parquet", captions, unsafe), {"train": 2, "dictionary": 3})
    assert table["caption"].to_pylist() == [
        "one two three",
        "four five six",
        "красная машина на траве",
        "草の上に赤い車がある風景写真です",
        "seven eight nine",
    ]
    assert table["split"].to_pylist() == ["train"] * 2 + ["dictionary"] * 3
    assert table["source_row"].to_pylist() == [0, 6, 9, 10, 11]
    assert table["seed"].to_pylist() == [prompt_seed(5, i) for i in range(5)]


def test_tokens_over_the_context_are_dropped_not_cut(tmp_path):
    source = write(tmp_path / "a.parquet", ["a b c d e", "a b c"])
    assert plan(source, {"train": 1}, max_tokens=5)["caption"].to_pylist() == ["a b c"]


def test_several_files_are_read_in_sorted_order_and_case_of_the_column_does_not_matter(tmp_path):
    write(tmp_path / "b.parquet", ["from file b"], column="TOP_CAPTION")
    write(tmp_path / "a.parquet", ["from file a"])
    table = plan(str(tmp_path / "*.parquet"), {"train": 2})
    assert table["source_file"].to_pylist() == ["a.parquet", "b.parquet"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: str(p / "none.parquet"), "no Parquet file"),
        (lambda p: write(p / "a.parquet", ["a b c"], column="text"), "it has text, punsafe"),
        (lambda p: write(p / "a.parquet", []), "holds no rows"),
        (lambda p: write(p / "a.parquet", ["a b c"]), "1 usable captions among 1 rows"),
    ],
)
def test_unusable_sources_say_what_is_wrong(tmp_path, make, says):
    with pytest.raises(StorageError, match=says):
        plan(make(tmp_path), {"train": 2})


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    write(path, ["a b c"] * 10)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageError, match="not a whole Parquet file"):
        plan(str(path), {"train": 1})
