"""Every table and column says what it means: in the code, in the Parquet files, on the page."""

import pyarrow as pa
import pyarrow.parquet as pq

from storage.declaring import _COMMON, common
from storage.descriptions import page
from storage.schemas import KEYS, SCHEMAS, SORTS, TABLES
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


def test_a_common_column_means_the_same_and_is_of_one_type_unless_a_table_says_otherwise():
    tables = [table for table in TABLES.values() if "box" in table.schema.names]
    assert len({table.schema.field("box").metadata[b"description"] for table in tables}) == 1
    assert common("t").equals(SCHEMAS["concepts"].field("t"), check_metadata=True)
    assert common("top_label", null=True).nullable and not common("top_label").nullable


def test_every_common_column_is_in_a_table():
    assert set(_COMMON) <= {name for schema in SCHEMAS.values() for name in schema.names}


def test_a_written_part_carries_the_words_and_the_key(tmp_path):
    found = pq.read_schema(add_part(tmp_path, "tags", "a", [TAG]))
    assert found.metadata[b"description"].decode() == TABLES["tags"].means
    assert found.metadata[b"key"] == b"prompt_id,label"
    assert found.field("tagger").metadata[b"description"].decode() == "Name of the tagger."
    assert found.field("label").metadata[b"description"].decode() == "The label, e.g. tree."


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
