"""Tables that are opened once for many statements answer as a query of their own does, whatever becomes of them."""

import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import storage.query
from storage.errors import StorageError
from storage.query import OpenTables, query
from storage.records import forget_record, read_record
from storage.tables import part_path
from storage.vouch import digest_of
from tests.parts import add_part, open_study, rewrite_record


@pytest.fixture(params=["study", "a=b [1] it's"])
def study(tmp_path, request):
    root = tmp_path / request.param
    open_study(root, {"name": "x"}, {})
    add_part(root, "tags", "a", [tag(0, "tree"), tag(1, "it's ? house")])
    return root


def tag(prompt_id, label):
    return {"prompt_id": prompt_id, "label": label, "score": 0.5, "tagger": "x"}


def ids(tables, label="tree"):
    return tables.query("select prompt_id from tags where label = ? order by 1", [label])["prompt_id"].to_pylist()


def test_a_statement_and_its_values_are_answered_as_a_query_is(study):
    tables = OpenTables(study, ["tags"])
    assert ids(tables) == [0] and ids(tables, "it's ? house") == [1] and ids(tables, "' or 1 = 1 --") == []
    sql = "select label, count(*) n from tags group by label order by label"
    for _ in range(2):
        assert tables.query(sql).equals(query(study, sql))
    tables.close()
    assert ids(tables) == [0]


def test_parts_that_come_go_or_are_replaced_are_seen(study):
    tables = OpenTables(study, ["tags", "boxes"])
    assert tables.query("from boxes").num_rows == 0 and ids(tables) == [0]
    add_part(study, "tags", "b", [tag(7, "tree")])
    assert ids(tables) == [0, 7]
    add_part(study, "tags", "a", [tag(3, "tree")])
    assert ids(tables) == [3, 7]
    forget_record(study, "tag", "b")
    assert ids(tables) == [3]


def test_rows_of_some_values_are_those_of_a_statement(study):
    tables = OpenTables(study, ["tags", "boxes"])
    where = {"label": "it's ? house", "tagger": "x"}
    asked = tables.query("select score, prompt_id from tags where label = ? and tagger = ?", [*where.values()])
    assert asked.num_rows == 1 and tables.rows("tags", ["score", "prompt_id"], where).equals(asked)
    assert tables.rows("tags", ["label"], {"label": "' or 1 = 1 --"}).num_rows == 0
    assert tables.rows("tags", ["label"], {}).num_rows == 2
    assert tables.rows("boxes", ["label"], {"prompt_id": 1}).to_pydict() == {"label": []}
    add_part(study, "tags", "b", [tag(7, "tree")])
    assert sorted(tables.rows("tags", ["prompt_id"], {"label": "tree"})["prompt_id"].to_pylist()) == [0, 7]
    with pytest.raises(StorageError, match="table tags has no column 'nope': it has prompt_id"):
        tables.rows("tags", ["nope"], {})


def test_rows_are_looked_for_in_the_parts_alone_that_may_hold_them(study, monkeypatch):
    for n in range(8, 12):
        add_part(study, "tags", str(n), [tag(n, f"label {n}")])
    tables, opened = OpenTables(study, ["tags"]), []
    selection = storage.query._selection
    monkeypatch.setattr("storage.query._selection", lambda *given: opened.append(given[1]) or selection(*given))
    assert tables.query("from tags").num_rows == 6
    opened.clear()
    for n in (9, 11):
        assert tables.rows("tags", ["label"], {"prompt_id": n})["label"].to_pylist() == [f"label {n}"]
    assert [[Path(file).name for file in files] for files in opened] == [["9.parquet"], ["11.parquet"]]


def test_a_damaged_part_is_refused_until_it_is_whole(study):
    tables = OpenTables(study, ["tags"])
    assert ids(tables) == [0]
    part = part_path(study, "tags", "a")
    whole = part.read_bytes()
    part.write_bytes(whole[:-9])
    with pytest.raises(StorageError, match="is damaged"):
        ids(tables)
    part.write_bytes(whole)
    assert ids(tables) == [0]


def test_a_part_without_a_column_of_today_has_nothing_in_it(study):
    part = part_path(study, "tags", "a")
    pq.write_table(pq.read_table(part).drop_columns("tagger"), part)
    facts = read_record(study, "tag", "a")["tables"]
    rewrite_record(study, "tag", "a", tables={"tags": {**facts["tags"], "sha256": digest_of(part)}})
    add_part(study, "tags", "b", [tag(7, "tree")])
    assert OpenTables(study, ["tags"]).query("select tagger from tags order by prompt_id")["tagger"].to_pylist() == [
        None, None, "x"
    ]  # fmt: skip
    assert OpenTables(study, ["tags"]).rows("tags", ["tagger"], {"prompt_id": 0})["tagger"].to_pylist() == [None]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("create table t as select 1", "is not for a query"),
        ("select 1; select 2", "2 statements"),
        ("from boxes", "boxes does not exist"),
        ("from read_parquet('x.parquet')", "read_parquet"),
        ("select prompt_id from tags where label = ?", "the query failed"),
        ("set threads = 1", "is not for a query"),
        ("select \udcff", "UTF-8"),
    ],
)
def test_nothing_else_is_answered_and_the_next_statement_is(study, sql, said):
    tables = OpenTables(study, ["tags"])
    with pytest.raises(StorageError, match=said):
        tables.query(sql)
    assert ids(tables) == [0]


def test_a_name_that_is_no_tables_is_refused(study):
    with pytest.raises(StorageError, match="there is no table 'nope'"):
        OpenTables(study, ["nope"])


def test_many_threads_are_answered_each_its_own(study):
    add_part(study, "tags", "b", [tag(n, f"label {n}") for n in range(10, 50)])
    tables, found = OpenTables(study, ["tags"]), {}
    asking = [threading.Thread(target=lambda n=n: found.update({n: ids(tables, f"label {n}")})) for n in range(10, 50)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert found == {n: [n] for n in range(10, 50)}
