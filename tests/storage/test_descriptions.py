"""Every table and column says what it means: in the code, in the Parquet files, on the page."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.descriptions import COLUMNS, COMMON, TABLES, described, page
from storage.schemas import KEYS, SCHEMAS, SORTS
from storage.tables import read_table
from storage.vouch import digest_of
from study.verify import verify
from tests.parts import add_part, open_study, rewrite_record
from tests.paths import ROOT

TAG = {"prompt_id": 1, "label": "tree", "score": 0.5, "tagger": "caption"}


def test_every_table_and_column_is_described_in_a_sentence():
    for table, schema in SCHEMAS.items():
        texts = [schema.metadata[b"description"], *(field.metadata[b"description"] for field in schema)]
        for text in map(bytes.decode, texts):
            assert text.endswith(".") and len(text.split()) > 1, (table, text)


def test_no_description_is_of_a_column_that_is_gone():
    assert set(TABLES) == set(SCHEMAS) and set(COLUMNS) <= set(SCHEMAS)
    for table, columns in COLUMNS.items():
        assert set(columns) <= set(SCHEMAS[table].names)
    assert set(COMMON) <= {name for schema in SCHEMAS.values() for name in schema.names}


def test_a_column_without_a_description_is_refused_by_name():
    with pytest.raises(KeyError, match=r"'surprise' of table 'tags'"):
        described("tags", pa.schema([("surprise", pa.int32())]), ("surprise",))


def test_a_written_part_carries_the_words_and_the_key(tmp_path):
    found = pq.read_schema(add_part(tmp_path, "tags", "a", [TAG]))
    assert found.metadata[b"description"].decode() == TABLES["tags"]
    assert found.metadata[b"key"] == b"prompt_id,label"
    assert found.field("tagger").metadata[b"description"].decode() == COLUMNS["tags"]["tagger"]
    assert found.field("label").metadata[b"description"].decode() == COMMON["label"]


def test_parts_without_the_words_stay_valid_and_are_read_with_the_others(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    add_part(tmp_path, "tags", "new", [TAG])
    bare = SCHEMAS["tags"].remove_metadata()
    bare = pa.schema([field.remove_metadata() for field in bare])
    old = add_part(tmp_path, "tags", "old", [{**TAG, "prompt_id": 0}])
    pq.write_table(pa.Table.from_pylist([{**TAG, "prompt_id": 0}], schema=bare), old)
    rewrite_record(tmp_path, "tag", "old", tables={"tags": {"part": "old", "rows": 1, "sha256": digest_of(old)}})
    assert pq.read_schema(old).metadata is None
    assert verify(tmp_path) == []
    assert read_table(tmp_path, "tags").to_pylist() == [{**TAG, "prompt_id": 0}, TAG]


def test_every_sort_order_holds_the_key():
    assert {table: set(order) for table, order in SORTS.items()} == {table: set(key) for table, key in KEYS.items()}


def test_the_page_is_generated():
    assert (ROOT / "docs" / "tables.md").read_text() == page(), "run: python -m storage.descriptions > docs/tables.md"
