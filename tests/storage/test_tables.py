import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.query import query, render
from storage.schemas import KEYS, SCHEMAS
from storage.study import open_study
from storage.tables import content_hash, read_table, write_part


def score(label: str, iou: float, method: str = "concepts") -> dict:
    return {
        "block": "mid",
        "t": 1.0,
        "conditioning": "cond",
        "k": 10,
        "label": label,
        "method": method,
        "threshold": None,
        "iou": iou,
        "iou_ci_low": 0.0,
        "iou_ci_high": 1.0,
        "n": 3,
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
    write_part(whole, "layout_scores", "all", rows)
    shuffled = [rows[i] for i in order]
    write_part(split, "layout_scores", "b", shuffled[:cut])
    write_part(split, "layout_scores", "a", shuffled[cut:])
    assert content_hash(whole, "layout_scores") == content_hash(split, "layout_scores")
    assert read_table(split, "layout_scores").to_pylist() == rows


def test_content_hash_sees_one_changed_value(tmp_path):
    write_part(tmp_path, "layout_scores", "a", [score("tree", 0.5)])
    before = content_hash(tmp_path, "layout_scores")
    write_part(tmp_path, "layout_scores", "a", [score("tree", 0.5000001)])
    assert content_hash(tmp_path, "layout_scores") != before


def test_rows_that_do_not_fit_are_refused_and_nothing_is_lost(tmp_path):
    path = write_part(tmp_path, "layout_scores", "a", [score("tree", 0.5)])
    kept = path.read_bytes()
    for bad in ([{**score("tree", 0.5), "iou": None}], [{**score("tree", 0.5), "n": "many"}], [score("x", 1)] * 2):
        with pytest.raises(StorageError):
            write_part(tmp_path, "layout_scores", "a", bad)
    assert path.read_bytes() == kept
    assert [p.name for p in path.parent.iterdir()] == ["a.parquet"]


def test_an_empty_table_reads_as_its_schema(tmp_path):
    assert read_table(tmp_path, "segments").schema == SCHEMAS["segments"]


def test_query_sees_each_table_by_name_and_reports_bad_sql(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    write_part(tmp_path, "layout_scores", "a", [score("tree", 0.5), score("sky", 0.25)])
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
