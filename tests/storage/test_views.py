"""Views of several tables: what they join, that queries know them, and that they are described."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.declared_views import VIEWS
from storage.query import query
from storage.schemas import SCHEMAS
from storage.tables import part_path
from storage.vouch import digest_of
from tests.parts import add_part, label_row, open_study, rewrite_record

SITE = {"block": "mid", "t": 1.0, "conditioning": "cond", "k": 4}


def filled(table, **given):
    """A row with something in every column that may not be null."""
    simple = {pa.string(): "x", pa.bool_(): True}
    row = {field.name: None if field.nullable else simple.get(field.type, 1) for field in SCHEMAS[table]}
    return {**row, **SITE, **given}


def cause(cid, label, kind, window, above):
    return filled("concept_causes", cid=cid, label=label, kind=kind, window=window, above_random=above)


@pytest.fixture
def root(tmp_path):
    """Concept 0 is tried twice, 1 as an object though its best label is a look, 2 never; 3 has no label."""
    open_study(tmp_path, {"name": "x"}, {})
    tops = {0: "tree", 1: "night", 2: "tree", 3: None}
    add_part(tmp_path, "concepts", "a", [filled("concepts", cid=cid, top_label=top) for cid, top in tops.items()])
    labels = [
        label_row(0, 0.9, iou_heldout=0.8),
        label_row(0, 0.3, iou_heldout=0.2, label="house"),
        label_row(0, 0.5, iou_heldout=0.5, kind="untrained"),
        label_row(1, 0.7, iou_heldout=0.6, label="night"),
        label_row(1, 0.4, iou_heldout=0.3),
        label_row(2, 0.6, iou_heldout=0.5),
        label_row(2, 0.6, iou_heldout=0.1, t=0.0),
        label_row(2, 0.6, iou_heldout=0.1, k=8),
    ]
    add_part(tmp_path, "concept_labels", "a", labels)
    return tmp_path


CAUSES = [
    cause(0, "tree", "spatial", "early", 0.25),
    cause(0, "tree", "spatial", "late", 0.5),
    cause(1, "tree", "spatial", "early", 0.0),
    cause(1, "night", "global", "early", 0.75),
]
JOINED = 'select cid, label, iou_heldout, kind, "window", above_random from concept_scores order by all'


def test_scores_of_detecting_and_causing_stand_side_by_side(root):
    add_part(root, "concept_causes", "a", CAUSES)
    assert [tuple(row.values()) for row in query(root, JOINED).to_pylist()] == [
        (0, "tree", 0.8, "spatial", "early", 0.25),
        (0, "tree", 0.8, "spatial", "late", 0.5),
        (1, "night", 0.6, "global", "early", 0.75),
        (1, "tree", 0.3, "spatial", "early", 0.0),
        (2, "tree", 0.5, None, None, None),
        (3, None, None, None, None, None),
    ]


def test_a_concept_that_was_not_tried_has_a_row_without_effects(root):
    assert [tuple(row.values())[:3] for row in query(root, JOINED).to_pylist()] == [
        (0, "tree", 0.8),
        (1, "night", 0.6),
        (2, "tree", 0.5),
        (3, None, None),
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_has_the_columns_and_the_key_that_it_declares(root, name):
    add_part(root, "concept_causes", "a", CAUSES)
    view, found = VIEWS[name], query(root, f"from {name}")
    assert found.column_names == [field.name for field in view.columns]
    assert found.schema.types == [field.type for field in view.columns]
    assert all(field.nullable or not found[field.name].null_count for field in view.columns)
    keys = [tuple(row[column] for column in view.key) for row in found.to_pylist()]
    assert len(set(keys)) == len(keys) and view.means.endswith(".")


def test_queries_know_a_view_by_any_way_of_naming_it(root):
    assert {"concept_scores", "tags"} <= set(query(root, "show tables")["name"].to_pylist())
    for sql in ("select count(*) n from CONCEPT_SCORES", "select count(*) n from query_table('concept_' || 'scores')"):
        assert query(root, sql).to_pylist() == [{"n": 4}]
    assert query(root, "select count(*) n from concepts").to_pylist() == [{"n": 4}]


def test_a_view_reads_parts_of_an_older_version_too(root):
    """One that lacks a column: that is null."""
    path = part_path(root, "concept_causes", "a")
    add_part(root, "concept_causes", "a", CAUSES)
    pq.write_table(pq.read_table(path).drop(["above_random"]), path)
    tables = {"concept_causes": {"part": "a", "rows": 4, "sha256": digest_of(path)}}
    rewrite_record(root, "causes", "a", tables=tables)
    assert query(root, "select count(effect) e, count(above_random) a from concept_scores").to_pylist() == [
        {"e": 4, "a": 0}
    ]
