import os
import re
import zlib
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import StorageError
from storage.prompts import PromptSettings, plan_prompts, prompt_seed


def write(path, captions, punsafe=None, column="top_caption", group=3):
    table = pa.table({column: pa.array(captions, pa.string()), "punsafe": punsafe or [0.0] * len(captions)})
    pq.write_table(table, path, row_group_size=group)
    return str(path)


def tokens(captions):
    """A token a word, whatever its case, and a token for each mark, as CLIP's tokenizer parts them."""
    return [[0, *(zlib.crc32(w.lower().encode()) for w in re.findall(r"\w+|[^\w\s]", c)), 1] for c in captions]


def plan(source, sizes, context=77, dropped=None, **given):
    settings = PromptSettings(source=str(source), splits=sizes, **given)
    return plan_prompts(settings, tokens, context, 5, dropped)


def captions_of(*given, **more):
    return plan(*given, **more)["caption"].to_pylist()


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
        (lambda p: str(p / "none.parquet"), "no Parquet file called"),
        (lambda p: str(p), "no Parquet file in"),
        (lambda p: write(p / "a.parquet", ["a b c"], column="text"), "it has text, punsafe"),
        (lambda p: write(p / "a.parquet", []), "holds no rows"),
        (lambda p: write(p / "a.parquet", ["a b c"]), "1 usable captions among 1 rows, but"),
        (lambda p: "s3://bucket/laion/*.parquet", "is a URL, and only local files are read"),
        (lambda p: "https://host/a.parquet", "is a URL"),
        (lambda p: os.mkfifo(p / "a.parquet") or str(p / "a.parquet"), "is not a regular file"),
        (lambda p: (p / "a.csv").write_text("top_caption\n") and str(p / "a.csv"), "is not a whole Parquet file"),
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
        plan(path, {"train": 1})


def test_captions_longer_than_the_models_context_are_dropped_and_counted(tmp_path):
    source = write(tmp_path / "a.parquet", ["a b c d e f", "one two three", "a b c d e g"])
    dropped = Counter()
    assert captions_of(source, {"train": 1}, context=7, dropped=dropped) == ["one two three"]
    assert dropped == {"of more than 7 tokens": 1}  # the row after the last is not judged
    with pytest.raises(StorageError, match=r"1 usable captions among 3 rows \(dropped: 2 of more than 7 tokens\)"):
        plan(source, {"train": 2}, context=7)
    with pytest.raises(StorageError, match="max_tokens is 40, but the model reads only 32 tokens"):
        plan(source, {"train": 1}, context=32, max_tokens=40)


def test_what_the_model_reads_alike_is_one_caption(tmp_path):
    captions = ["a tree, a house", "A Tree , a House", "a  tree ,a house", "a tree a house", "ａ ｔｒｅｅ, a house"]
    assert captions_of(write(tmp_path / "a.parquet", captions), {"train": 2}) == ["a tree, a house", "a tree a house"]


def test_every_reason_is_counted(tmp_path):
    captions = ["a b c", None, "too short", "x " * 50, "A B C", "un safe here", "no score here", "bad score here", " "]
    captions += [
        "a \0 b c",
        "bell \x07 bell bell",
        "\u200b \u200b \u200b",
        "\u200b" * 20,
        "\u3164 \u3164 \ufeff",
        "\u2800" * 14,
    ]
    unsafe = [0.0] * len(captions)
    unsafe[5:8] = [0.9, None, float("nan")]
    dropped = Counter()
    source = write(tmp_path / "a.parquet", captions, unsafe)
    with pytest.raises(StorageError, match=r"1 usable captions among 15 rows .*dropped: 5 blank, 2 without a number"):
        plan(source, {"train": 2}, dropped=dropped)
    assert dropped == {
        "without a caption": 1,
        "of fewer than 3 words": 1,
        "of more than 40 words": 1,
        "repeated": 1,
        "with punsafe above 0.1": 1,
        "without a number for punsafe": 2,
        "with control characters": 2,
        "blank": 5,
    }


def test_joiners_inside_words_are_kept(tmp_path):
    caption = "می\u200cخواهم یک درخت"  # Persian needs the joiner
    assert captions_of(write(tmp_path / "a.parquet", [caption]), {"train": 1}) == [caption]


WORDS = ["one two three", "four five six"]
READ = {
    "large_string": pa.array(WORDS, pa.large_string()),
    "string_view": pa.array(WORDS, pa.string_view()),
    "dictionary": pa.array(WORDS).dictionary_encode(),
}
REFUSED = {
    "list": pa.array([[w] for w in WORDS]),
    "binary": pa.array([w.encode() for w in WORDS]),
    "struct": pa.array([{"text": w} for w in WORDS]),
    "null": pa.nulls(2),
    "int64": pa.array([1, 2]),
    "bool": pa.array([True, False]),
    "timestamp": pa.array([1, 2], pa.timestamp("s")),
}


def with_columns(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("kind", READ)
def test_strings_are_read_however_they_are_stored(tmp_path, kind):
    source = with_columns(tmp_path / "a.parquet", top_caption=READ[kind], punsafe=[0, 0])
    assert captions_of(source, {"train": 2}) == WORDS


@pytest.mark.parametrize("kind", REFUSED)
def test_other_types_of_captions_and_scores_are_named(tmp_path, kind):
    source = with_columns(tmp_path / "a.parquet", top_caption=REFUSED[kind], punsafe=[0.0, 0.0], alt=WORDS)
    says = rf"a.parquet: the column 'top_caption' holds {kind}.*a column of strings \(alt\)"
    with pytest.raises(StorageError, match=says):
        plan(source, {"train": 2})
    if "int" not in kind:
        source = with_columns(tmp_path / "b.parquet", top_caption=WORDS, punsafe=REFUSED[kind])
        with pytest.raises(StorageError, match=rf"the column 'punsafe' holds {kind}.*max_punsafe to null"):
            plan(source, {"train": 2})
        assert captions_of(source, {"train": 2}, max_punsafe=None) == WORDS


def test_columns_of_one_name(tmp_path):
    twice = pa.table(
        [pa.array(WORDS), pa.array(WORDS), pa.array([0.0, 0.0])], ["top_caption", "top_caption", "punsafe"]
    )
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(StorageError, match=r"a.parquet has 2 columns 'top_caption' \(top_caption, top_caption\)"):
        plan(tmp_path / "a.parquet", {"train": 2})
    by_case = with_columns(tmp_path / "b.parquet", TOP_CAPTION=["x"] * 2, top_caption=WORDS, punsafe=[0, 0])
    assert captions_of(by_case, {"train": 2}) == WORDS
    with pytest.raises(StorageError, match=r"2 columns 'Top_Caption' \(TOP_CAPTION, top_caption\)"):
        plan(by_case, {"train": 2}, caption_column="Top_Caption")
    others = pa.table([pa.array([1, 2])] * 2 + [pa.array(WORDS), pa.array([0, 0])], ["url", "url", "a.b", "punsafe"])
    pq.write_table(others, tmp_path / "c.parquet")
    assert captions_of(tmp_path / "c.parquet", {"train": 2}, caption_column="a.b") == WORDS


def test_folders_globs_brackets_and_empty_parts(tmp_path):
    folder = tmp_path / "LAION [old] set"
    (folder / "spark.parquet").mkdir(parents=True)
    write(folder / "a [1].parquet", ["from part a"])
    write(folder / "b.parquet", [])
    write(folder / "spark.parquet" / "part-0.parquet", ["from part spark"])
    write(folder / "spark.parquet" / "._part-0.parquet", ["hidden by finder"])
    (folder / "spark.parquet" / "_SUCCESS").touch()
    both = ["from part a", "from part spark"]
    assert captions_of(folder, {"train": 2}) == both
    assert captions_of(folder / "*.parquet", {"train": 2}) == both
    assert captions_of(tmp_path / "*" / "*.parquet", {"train": 2}) == both
    assert captions_of(folder / "a [1].parquet", {"train": 1}) == both[:1]
    assert captions_of(tmp_path / "**" / "part-*.parquet", {"train": 1}) == both[1:]
    with pytest.raises(StorageError, match=r"b.parquet holds no rows"):
        plan(folder / "b.parquet", {"train": 1})


def test_a_part_of_another_schema_is_named(tmp_path):
    write(tmp_path / "a.parquet", ["one two three"])
    with_columns(tmp_path / "b.parquet", text=WORDS, punsafe=[0, 0])
    assert captions_of(tmp_path, {"train": 1}) == WORDS[:1]  # not needed, so not opened
    with pytest.raises(StorageError, match=r"b.parquet has no column 'top_caption'; it has text, punsafe"):
        plan(tmp_path, {"train": 2})


def test_damage_found_while_reading_names_file_and_row_group(tmp_path):
    path = tmp_path / "a.parquet"
    captions = [f"caption number {i} of many" for i in range(30)]
    table = pa.table({"top_caption": captions, "punsafe": [0.0] * 30})
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True, compression="none", use_dictionary=False)
    data = bytearray(path.read_bytes())
    place = data.index(b"number 15 of")
    data[place] ^= 1  # still text: only the checksum of the page can tell
    path.write_bytes(data)
    assert len(plan(path, {"train": 10})) == 10
    with pytest.raises(StorageError, match=r"a.parquet is damaged in row group 1 .*fetch it again"):
        plan(path, {"train": 11})


def test_text_that_is_not_utf8_names_the_row(tmp_path):
    raw = pa.array([b"one two three", b"caf\xe9 au lait", b"four five six"])
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    source = with_columns(tmp_path / "a.parquet", top_caption=text, punsafe=[0.0] * 3)
    with pytest.raises(StorageError, match=r"a.parquet, row group 0: the text of row 1 is not UTF-8"):
        plan(source, {"train": 2})


def test_what_can_be_known_without_reading_is_told_at_once(tmp_path):
    def check(source, size):
        PromptSettings(source=str(source), splits={"train": size}).check_source()

    write(tmp_path / "a.parquet", ["x"] * 4)
    write(tmp_path / "b.parquet", ["x"] * 4)
    check(tmp_path, 8)
    with pytest.raises(StorageError, match=r"has 8 rows, but prompts.splits ask for 9 captions"):
        check(tmp_path, 9)
    with_columns(tmp_path / "b.parquet", top_caption=REFUSED["list"], punsafe=[0, 0])
    check(tmp_path, 4)
    with pytest.raises(StorageError, match="holds list"):
        check(tmp_path, 5)


def test_limits_that_exclude_each_other(tmp_path):
    with pytest.raises(ValueError, match="min_words 9 is more than max_words 8"):
        PromptSettings(source="a", splits={"train": 1}, min_words=9, max_words=8)
