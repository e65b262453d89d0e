from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.content import content_hash
from storage.errors import StorageError
from storage.query import query, render
from storage.records import write_record
from storage.schemas import KEYS, SCHEMAS, SORTS, WRITERS
from storage.tables import ROW_GROUP_ROWS, KnownParts, as_table, named_parts, read_table
from tests.parts import add_part, open_study


def score(label: str, iou: float, method: str = "concepts") -> dict:
    return {
        "block": "mid",
        "t": 1.0,
        "conditioning": "cond",
        "k": 10,
        "kind": "trained",
        "label": label,
        "method": method,
        "threshold": None,
        "iou": iou,
        "iou_ci_low": 0.0,
        "iou_ci_high": 1.0,
        "n": 3,
        "iou_all": iou,
        "iou_all_ci_low": 0.0,
        "iou_all_ci_high": 1.0,
        "n_undetected": 0,
    }


def test_every_table_has_a_key_made_of_its_columns():
    assert set(KEYS) == set(SCHEMAS)
    for table, key in KEYS.items():
        assert set(key) <= set(SCHEMAS[table].names)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 6), order=st.permutations(range(6)))
def test_content_hash_ignores_how_rows_are_split_and_ordered(tmp_path_factory, cut, order):
    rows = [score(f"label{i}", i / 10) for i in range(6)]
    whole, split = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("split")
    add_part(whole, "layout_scores", "all", rows)
    shuffled = [rows[i] for i in order]
    add_part(split, "layout_scores", "b", shuffled[:cut])
    add_part(split, "layout_scores", "a", shuffled[cut:])
    assert content_hash(whole, "layout_scores") == content_hash(split, "layout_scores")
    assert read_table(split, "layout_scores").to_pylist() == rows


def test_content_hash_sees_one_changed_value(tmp_path):
    add_part(tmp_path, "layout_scores", "a", [score("tree", 0.5)])
    before = content_hash(tmp_path, "layout_scores")
    add_part(tmp_path, "layout_scores", "a", [score("tree", 0.5000001)])
    assert content_hash(tmp_path, "layout_scores") != before


def test_rows_that_do_not_fit_are_refused_and_nothing_is_lost(tmp_path):
    path = add_part(tmp_path, "layout_scores", "a", [score("tree", 0.5)])
    kept = path.read_bytes()
    for bad in ([{**score("tree", 0.5), "iou": None}], [{**score("tree", 0.5), "n": "many"}], [score("x", 1)] * 2):
        with pytest.raises(StorageError):
            add_part(tmp_path, "layout_scores", "a", bad)
    assert path.read_bytes() == kept
    assert [p.name for p in path.parent.iterdir()] == ["a.parquet"]


def test_an_empty_table_reads_as_its_schema(tmp_path):
    assert read_table(tmp_path, "segments").schema == SCHEMAS["segments"]


def test_query_sees_each_table_by_name_and_reports_bad_sql(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    add_part(tmp_path, "layout_scores", "a", [score("tree", 0.5), score("sky", 0.25)])
    assert query(tmp_path, "select max(iou) m from layout_scores").to_pylist() == [{"m": 0.5}]
    assert query(tmp_path, "select count(*) n from segments").to_pylist() == [{"n": 0}]
    with pytest.raises(StorageError, match="the query failed"):
        query(tmp_path, "selct 1")
    with pytest.raises(StorageError, match="not a study folder"):
        query(tmp_path / "elsewhere", "select 1")


def test_render_formats_agree(tmp_path):
    table = pa.table({"a": [1, 2], "b": [[1.0], None]})
    assert b'"[1.0]"' in render(table, "csv") or b"[1.0]" in render(table, "csv")
    assert render(table, "json").startswith(b"[")
    assert pq.read_table(pa.BufferReader(render(table, "parquet"))).equals(table)
    assert render(table, "table").splitlines()[0].split() == [b"a", b"b"]


def pairs(rows: int, labels: int) -> pa.Table:
    """``concept_labels`` of one SAE in key order: concept after concept, each with a few of many labels."""
    rng = np.random.default_rng(0)
    key = np.sort(rng.choice(rows * 4, rows, replace=False))
    cid, label = np.divmod(key, labels)
    given = {"block": ["mid"] * rows, "t": np.full(rows, 0.5), "conditioning": ["cond"] * rows, "k": np.full(rows, 10)}
    given |= {"kind": ["trained"] * rows, "cid": cid, "label": [f"label {i:04d}" for i in label]}
    arrays = []
    for field in SCHEMAS["concept_labels"]:
        drawn = rng.integers(0, 2, rows).astype(bool) if pa.types.is_boolean(field.type) else rng.integers(0, 9, rows)
        arrays.append(pa.array(given.get(field.name, drawn)).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=SCHEMAS["concept_labels"])


def column_chunks(path):
    """Every column chunk of a file."""
    meta = pq.read_metadata(path)
    return [meta.row_group(g).column(c) for g in range(meta.num_row_groups) for c in range(meta.num_columns)]


def test_every_string_is_dictionary_encoded_and_every_column_has_statistics_and_zstd(tmp_path):
    grid = [{"grid": "8x8", "value": 0.5}]
    boxes = {"box": [0.0] * 4, "rle_size": [8, 8], "rle_counts": [64], "iou_ceiling": grid, "area_px": 0}
    scores = {"tag_score": 1.0, "box_score": 1.0, "mask_score": 1.0, "second_opinion": None}
    common = {"prompt_id": 1, "label": "tree", "backend": "mini"}
    rows = [{**common, **boxes, **scores, "segment_id": i} for i in range(3)]
    files = [add_part(tmp_path, "segments", "a", rows), add_part(tmp_path, "concept_labels", "a", pairs(100, 10))]
    chunks = [chunk for file in files for chunk in column_chunks(file)]
    strings = {c.path_in_schema for c in chunks if c.physical_type == "BYTE_ARRAY"}
    expected = {"label", "backend", "iou_ceiling.list.element.grid", "block", "conditioning", "kind"}
    assert strings == expected
    for chunk in chunks:
        assert ("RLE_DICTIONARY" in chunk.encodings) == (chunk.path_in_schema in strings), chunk.path_in_schema
        assert chunk.compression == "ZSTD" and chunk.statistics is not None


def test_a_part_lies_in_its_sort_order_and_reads_in_key_order(tmp_path):
    path = add_part(tmp_path, "concept_labels", "a", pairs(1000, 50))
    lying = pq.read_table(path).select(SORTS["concept_labels"]).to_pylist()
    assert lying == sorted(lying, key=lambda row: tuple(row.values()))
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(s.column_index).path_in_schema for s in group.sorting_columns]
    assert tuple(columns) == SORTS["concept_labels"]
    assert not any(s.descending for s in group.sorting_columns)
    assert read_table(tmp_path, "concept_labels").equals(pairs(1000, 50))


def test_a_labels_rows_lie_in_few_row_groups(tmp_path):
    path = add_part(tmp_path, "concept_labels", "a", pairs(5 * ROW_GROUP_ROWS, 4585))
    meta = pq.read_metadata(path)
    assert meta.num_row_groups == 5
    label = meta.schema.names.index("label")
    ranges = [meta.row_group(g).column(label).statistics for g in range(5)]
    assert all(a.max <= b.min for a, b in pairwise(ranges))
    holding = [r for r in ranges if r.min <= "label 0007" <= r.max]
    assert len(holding) == 1


def test_a_reader_can_find_the_pages_that_may_hold_its_rows(tmp_path):
    path = add_part(tmp_path, "concept_labels", "a", pairs(2 * ROW_GROUP_ROWS, 4585))
    assert all(chunk.has_offset_index and chunk.has_column_index for chunk in column_chunks(path))


def test_a_reader_of_one_dictionary_leaves_the_parts_of_others_unopened(tmp_path):
    table = pairs(100, 5)
    other = table.set_column(table.column_names.index("t"), SCHEMAS["concept_labels"].field("t"), [[1.0] * 100])
    both = pa.concat_tables([table.slice(0, 40), other.slice(40)])
    add_part(tmp_path, "concept_labels", "here", table.slice(40))
    add_part(tmp_path, "concept_labels", "both", both)
    add_part(tmp_path, "concept_labels", "there", other.slice(0, 40)).write_bytes(b"damaged")
    asked = [("block", "==", "mid"), ("t", "==", 0.5), ("k", "in", [4, 10]), ("cid", ">=", 0)]
    assert read_table(tmp_path, "concept_labels", filters=asked).equals(table)
    assert read_table(tmp_path, "concept_labels", filters=[("k", "==", 11)]).num_rows == 0
    for opened in ([("t", ">", 0.5)], [("t", "in", [0.5, 1.0])], [("t", "!=", 0.5)], None):
        with pytest.raises(StorageError, match=r"there.parquet is damaged"):
            read_table(tmp_path, "concept_labels", filters=opened)


def test_known_parts_are_those_of_the_first_look_until_they_are_forgotten_or_one_is_gone(tmp_path):
    first = add_part(tmp_path, "layout_scores", "first", [score("tree", 0.5)])
    known = KnownParts(tmp_path)
    assert known.named("layout_scores") == named_parts(tmp_path, "layout_scores")
    second = add_part(tmp_path, "layout_scores", "second", [score("house", 0.5)])
    assert read_table(tmp_path, "layout_scores", ["label"], known=known)["label"].to_pylist() == ["tree"]
    known.forget()
    assert list(known.named("layout_scores")) == [first, second]
    first.unlink()
    write_record(tmp_path, WRITERS["layout_scores"][0], "first", {"tables": {}, "files": {}}, "h")
    assert read_table(tmp_path, "layout_scores", ["label"], known=known)["label"].to_pylist() == ["house"]
    second.write_bytes(b"damaged")
    with pytest.raises(StorageError, match=r"second.parquet is damaged"):
        read_table(tmp_path, "layout_scores", known=known)


def test_large_rows_lie_in_small_row_groups(tmp_path):
    picture = np.random.default_rng(0).bytes(2**20)
    rows = [{"prompt_id": i, "image": picture, "width": 8, "height": 8, "sha256": ""} for i in range(40)]
    meta = pq.read_metadata(add_part(tmp_path, "images", "a", rows))
    assert [meta.row_group(g).num_rows for g in range(meta.num_row_groups)] == [15, 15, 10]
    assert read_table(tmp_path, "images", ["prompt_id"], [("prompt_id", "==", 17)]).num_rows == 1


def test_a_key_held_twice_is_refused_wherever_the_rows_stand(tmp_path):
    table = pairs(1000, 50)
    with pytest.raises(StorageError, match="two rows share one key"):
        add_part(tmp_path, "concept_labels", "a", pa.concat_tables([table, table.slice(500, 1)]))
    add_part(tmp_path, "concept_labels", "a", table.take(pa.array(np.random.default_rng(0).permutation(1000))))


def test_a_table_with_a_column_too_few_is_refused(tmp_path):
    with pytest.raises(StorageError, match="do not fit its schema"):
        add_part(tmp_path, "concept_labels", "a", pairs(10, 5).drop_columns("iou"))


@pytest.fixture
def small_study(tmp_path):
    """A study whose folder and labels hold quotes."""
    root = tmp_path / "it's a study"
    open_study(root, {"name": "x"}, {})
    labels = ("st. john's wort", 'a "b"', "木", "tree")
    add_part(
        root, "tags", "a", [{"prompt_id": i, "label": n, "score": 1.0, "tagger": "x"} for i, n in enumerate(labels)]
    )
    return root


@pytest.mark.parametrize("label", ["st. john's wort", 'a "b"', "木", "tree"])
def test_any_label_can_be_asked_for_with_its_quotes_doubled(small_study, label):
    quoted = label.replace("'", "''")
    assert query(small_study, f"select count(*) n from tags where label = '{quoted}'").to_pylist() == [{"n": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) n from TAGS",
        'select count(*) n from "tags"',
        "with x as (from tags) select count(*) n from x",
        "select count(*) n from query_table('ta' || 'gs')",
        "select count(*) + (select count(*) from segments) n from tags",
        "select count(*) n from query_table('ta' || 'gs') anti join segments using (prompt_id)",
    ],
)
def test_a_table_is_found_however_it_is_named(small_study, sql):
    assert query(small_study, sql).to_pylist() == [{"n": 4}]


def test_all_tables_are_listed_to_who_asks_what_there_is(small_study):
    assert set(SCHEMAS) <= set(query(small_study, "show tables")["name"].to_pylist())
    listed = query(small_study, "select view_name from duckdb_views() where not internal -- not tags")
    assert set(SCHEMAS) <= set(listed["view_name"].to_pylist())


def test_a_misspelt_table_is_answered_with_the_right_name(small_study):
    with pytest.raises(StorageError, match='Did you mean "concept_labels"'):
        query(small_study, "select * from concept_label join tags using (label)")


def test_a_study_is_asked_by_a_relative_path_and_by_a_link(small_study, monkeypatch):
    monkeypatch.chdir(small_study.parent)
    (small_study.parent / "link").symlink_to(small_study)
    for root in (small_study.name, "link"):
        assert query(root, "select count(*) n from tags").to_pylist() == [{"n": 4}]


def test_columns_and_constants_become_the_rows_that_a_list_would():
    """With a NaN of a column of numbers, but no other value, as null."""
    iou = np.array([0.25, np.nan, -0.0])
    columns = {"n": np.array([3, 1, 2]), "label": ["a", "b", "c"], "iou": iou, "threshold": [None, 0.5, 1.0]}
    constants = {"method": "concepts", "k": 10, "block": "mid", "t": 0.5, "conditioning": "cond", "kind": "trained"}
    ends = {"iou_ci_low": 0.0, "iou_ci_high": 1.0, "iou_all": 0.5, "iou_all_ci_low": 0.0, "iou_all_ci_high": 1.0}
    ends["n_undetected"] = 0
    table = as_table("layout_scores", columns, {**constants, **ends})
    assert table.schema == SCHEMAS["layout_scores"]
    shared = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": 10, "kind": "trained", "method": "concepts"}
    expected = [
        {**shared, "label": "a", "threshold": None, "iou": 0.25, **ends, "n": 3},
        {**shared, "label": "b", "threshold": 0.5, "iou": None, **ends, "n": 1},
        {**shared, "label": "c", "threshold": 1.0, "iou": 0.0, **ends, "n": 2},
    ]
    assert table.to_pylist() == expected


def test_columns_of_lists_come_from_arrays_of_two_dimensions_or_lists_of_any_length():
    columns = {"cid": np.array([4, 5]), "bin": [0, 9], "rank": np.arange(2), "prompt_id": np.array([7, 8])}
    columns |= {"act_max": np.array([0.5, np.nan], np.float32), "map_indices": np.array([[0, 2], [1, 3]])}
    columns |= {"map_values": [np.array([0.5], np.float32), []]}
    constants = {"block": "mid", "t": 0.5, "conditioning": "cond", "k": 10, "grid": [8, 6]}
    table = as_table("concept_examples", columns, constants)
    assert table.schema == SCHEMAS["concept_examples"]
    found = {name: table[name].to_pylist() for name in ("cid", "act_max", "map_indices", "map_values", "grid")}
    assert (found["cid"], found["act_max"]) == ([4, 5], [0.5, None])
    assert (found["map_indices"], found["map_values"]) == ([[0, 2], [1, 3]], [[0.5], []])
    assert found["grid"] == [[8, 6], [8, 6]]


def test_a_column_that_lacks_or_does_not_fit_is_refused():
    words = {field.name: ["text"] for field in SCHEMAS["layout_scores"]}
    with pytest.raises(KeyError, match="threshold"):
        as_table("layout_scores", {name: words[name] for name in words if name != "threshold"} | {"k": [1], "t": [0.5]})
    with pytest.raises(pa.ArrowInvalid):
        as_table("layout_scores", words)
