"""What may be asked of a study's tables, and that nothing else is read or written, whatever the folder's name."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage import query as query_module
from storage.errors import StorageError
from storage.query import query
from storage.schemas import SCHEMAS
from storage.vouch import digest_of
from tests.parts import add_part, open_study, rewrite_record
from tests.paths import ROOT

LABELS = ["tree", "house", "boat"]
REFUSED = "a query is one statement that reads the study's tables: SELECT, FROM"


def fill(root):
    open_study(root, {"name": "x"}, {})
    rows = [{"prompt_id": i, "label": name, "score": 0.5 * i, "tagger": "x"} for i, name in enumerate(LABELS)]
    add_part(root, "tags", "a", rows[:2])
    add_part(root, "tags", "b", rows[2:])
    return root


@pytest.fixture
def study(tmp_path):
    return fill(tmp_path / "study")


def contents(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("select count(*) as n from tags", [{"n": 3}]),
        ("from tags select count(*) as n;", [{"n": 3}]),
        ("-- how many?\nselect count(*) as n from tags -- ; drop table tags", [{"n": 3}]),
        ("/* ; */ select ';' as n", [{"n": ";"}]),
        ("with a as (from tags), b as (select max(score) as n from a) from b", [{"n": 1.0}]),
        ("with recursive t as (select 1 as n union all select n + 1 from t where n < 4) select max(n) as n from t",
         [{"n": 4}]),
        ("values (1, 2)", [{"col0": 1, "col1": 2}]),
        ("table tags limit 0", []),
        ("(select 1 as n) union all (select 2)", [{"n": 1}, {"n": 2}]),
        ("pivot tags on label in ('tree', 'boat') using count(*) group by tagger",
         [{"tagger": "x", "tree": 1, "boat": 1}]),
        ("unpivot (select 1 as a, 2 as b) on a, b into name n value v", [{"n": "a", "v": 1}, {"n": "b", "v": 2}]),
        ("select sum(i) as n from range(4) t(i)", [{"n": 6}]),
        ("select count(*) as n from query_table('ta' || 'gs')", [{"n": 3}]),
        ("select unnest([1, 2]) as n", [{"n": 1}, {"n": 2}]),
        ("select count(*) as n from (describe tags)", [{"n": len(SCHEMAS["tags"])}]),
        ("select column_name as n from (summarize tags) limit 1", [{"n": "prompt_id"}]),
        ("select label as n from tags qualify row_number() over (order by score desc) = 1", [{"n": "boat"}]),
    ],
)  # fmt: skip
def test_one_statement_that_reads_is_answered(study, sql, rows):
    assert query(study, sql).to_pylist() == rows


def test_a_pivot_finds_its_columns_in_the_data(study):
    sql = "pivot tags on label using count(*) group by tagger"
    if len(duckdb.extract_statements(sql)) > 1:
        with pytest.raises(StorageError, match="its columns named by IN"):  # two statements to DuckDB 1.x
            query(study, sql)
        return
    assert query(study, sql).to_pylist() == [{"tagger": "x", "boat": 1, "house": 1, "tree": 1}]
    assert query(study, f"from ({sql})").num_rows == 1


DESCRIBING = [
    "describe",
    "describe tags",
    "show tables",
    "summarize tags",
    "explain from tags",
    "explain analyze from tags",
]


@pytest.mark.parametrize("sql", [*DESCRIBING, " /* why */ explain (format json) from tags"])
def test_the_tables_say_what_they_are(study, sql):
    assert query(study, sql).num_rows


WRITING = [
    "copy (select 1 as a) to '{target}'",
    "copy tags to '{part}'",
    "copy (pivot tags on label using count(*)) to '{target}'",
    "with a as (copy tags to '{part}') from a",
    "explain analyze copy (select 1) to '{target}'",
    "explain analyze copy (select 1) to '{part}' (use_tmp_file false)",
    "export database '{target}'",
    "import database '{target}'",
    "attach '{target}' as other",
    "create table tags as select 1 as a",
    "create table z as pivot tags on label using count(*)",
    "create or replace view tags as select 1",
    "create type t as enum ('a'); from tags",
    "create macro f(a) as a",
    "create temp table t as from tags",
    "insert into tags values (1)",
    "with a as (insert into tags values (1) returning *) from a",
    "update tags set label = ''",
    "delete from tags",
    "truncate tags",
    "drop view tags",
    "alter view tags rename to other",
    "install httpfs",
    "load httpfs",
    "set threads = 1",
    "set variable a = 1",
    "reset threads",
    "use memory",
    "pragma threads = 4",
    "pragma database_list",
    "pragma enable_profiling",
    "call duckdb_tables()",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare a as select 1",
    "execute a",
    "deallocate a",
    "comment on view tags is 'x'",
    "select 1; select 2",
    "select 1; copy tags to '{target}'",
    "select 1; -- comment\ndrop view tags",
    "",
    " ; ",
    "-- select 1",
]
READING_FILES = [
    "from read_parquet('{part}')",
    "from read_parquet('{other}')",
    "from parquet_scan('{other}')",
    "from parquet_metadata('{part}')",
    "from read_csv('/etc/passwd')",
    "from read_text('/etc/passwd')",
    "from read_text('{record}')",
    "from read_blob('{part}')",
    "from read_json('{record}')",
    "from sniff_csv('/etc/passwd')",
    "from glob('/etc/*')",
    "from \"READ_TEXT\"('/etc/passwd')",
    "from system.main.read_text('/etc/passwd')",
    "from /* x */ read_text /* y */ ('/etc/passwd')",
    "select (select content from read_text('/etc/passwd')) as a",
    "select * from tags, lateral (select content from read_text('/etc/passwd'))",
    "with a as (from read_text('/etc/passwd')) from a",
    "describe select * from read_text('/etc/passwd')",
    "summarize from read_text('/etc/passwd')",
    "explain from read_text('/etc/passwd')",
    "pivot (from read_text('/etc/passwd')) on filename using count(*)",
    "from query('from read_text(''/etc/passwd'')')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "from enable_logging(level = 'debug', storage = 'file', storage_config = {{'path': '{target}'}})",
    "from enable_profiling(save_location = '{target}')",
    "from duckdb_secrets()",
    "from duckdb_extensions()",
    "from checkpoint()",
    "from '{other}'",
    "from 'https://example.com/a.parquet'",
]


@pytest.mark.parametrize("sql", WRITING + READING_FILES)
def test_everything_else_is_refused_with_a_sentence_and_changes_nothing(study, tmp_path, sql):
    other, target = tmp_path / "other.parquet", tmp_path / "target"
    pq.write_table(pa.table({"secret": ["s3cr3t"]}), other)
    names = {"part": study / "tables" / "tags" / "a.parquet", "record": study / "study.yaml"}
    before = contents(tmp_path)
    with pytest.raises(StorageError, match=REFUSED) as refused:
        query(study, sql.format(other=other, target=target, **names))
    assert "\n" not in str(refused.value) and "s3cr3t" not in str(refused.value)
    assert contents(tmp_path) == before and not target.exists()


BROKEN = ["selec 1", "select * from", "select ?", "select 'a", "select " + "(" * 1100, "select \0"]


@pytest.mark.parametrize("sql", BROKEN)
def test_what_does_not_parse_is_told_in_duckdbs_words(study, sql):
    with pytest.raises(StorageError, match="the query failed") as failed:
        query(study, sql)
    assert "\n" not in str(failed.value)


def test_bytes_that_are_not_utf8_are_refused(study):
    with pytest.raises(StorageError, match="not valid UTF-8"):
        query(study, os.fsdecode(b"select '\xff'"))


def test_variables_of_python_are_no_tables(study):
    secret = pa.table({"a": [1]})
    with pytest.raises(StorageError, match="secret does not exist"):
        query(study, "from secret")
    assert secret.num_rows


@pytest.mark.parametrize(
    "name",
    ["k=99", "label=tree", "prompt_id=7", "a[b]c", "[!x]", "a*b", "a?b", "**", "it's", 'say "x"', "line\nbreak",
     "{a,b}", "a;b", "~", "$HOME", "%20", "木", " blank ", "x.parquet", os.fsdecode(b"latin-\xe9")],
)  # fmt: skip
def test_the_name_of_the_folder_means_nothing(tmp_path, name):
    """Among neighbours that a pattern would match, too, under whose names DuckDB would find other parts."""
    try:
        root = fill(tmp_path / name / "study")
    except (OSError, UnicodeEncodeError) as error:
        pytest.skip(f"no such name on this disk: {error}")
    for neighbour in ("axb", "b", "ab", "x"):
        (tmp_path / neighbour / "study" / "tables" / "tags").mkdir(parents=True)
        pq.write_table(pa.table({"label": ["wrong"]}), tmp_path / neighbour / "study" / "tables" / "tags" / "a.parquet")
    assert query(root, "select label from tags order by prompt_id")["label"].to_pylist() == LABELS
    assert query(root, "from tags").column_names == SCHEMAS["tags"].names


@pytest.mark.parametrize("old", [("a",), ("b",), ("a", "b")])
def test_parts_of_before_a_column_was_added_have_null_in_it(study, old):
    """Whichever part comes first, and where all of them are old."""
    for part in old:
        path = study / "tables" / "tags" / f"{part}.parquet"
        pq.write_table(pq.read_table(path).drop_columns("tagger"), path)
        rewrite_record(study, "tag", part, tables={"tags": {"part": part, "rows": 1, "sha256": digest_of(path)}})
    found = query(study, "from tags order by prompt_id")
    assert found.column_names == SCHEMAS["tags"].names and found["label"].to_pylist() == LABELS
    new = {"a": ["x", "x"], "b": ["x"]}
    expected = [*(new["a"] if "a" not in old else [None, None]), *(new["b"] if "b" not in old else [None])]
    assert found["tagger"].to_pylist() == expected
    assert query(study, "from tags where tagger = 'x'").num_rows == sum(value == "x" for value in expected)


def test_a_damaged_part_of_a_table_that_is_named_is_refused_and_of_another_is_not(study):
    add_part(study, "layout_scores", "a", [])
    path = study / "tables" / "tags" / "b.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match=r"b.parquet is damaged"):
        query(study, "select count(*) from tags")
    assert query(study, "select count(*) as n from layout_scores").to_pylist() == [{"n": 0}]


def test_a_table_too_large_to_hash_is_read_with_a_word_about_it(study, monkeypatch):
    monkeypatch.setattr(query_module, "CHECKED_BYTES", 10)
    told = []
    assert query(study, "select count(*) as n from tags", notice=told.append).to_pylist() == [{"n": 3}]
    assert len(told) == 1 and "table tags is too large" in told[0] and "`concepts verify`" in told[0]


def test_stray_files_beside_the_parts_are_not_read(study):
    shutil.copy(study / "tables" / "tags" / "a.parquet", study / "tables" / "tags" / "a-conflict.parquet")
    (study / "tables" / "tags" / "._a.parquet").write_bytes(b"\0")
    assert query(study, "select count(*) as n from tags").to_pylist() == [{"n": 3}]


def test_an_answer_that_outgrows_the_memory_is_a_sentence(study, monkeypatch):
    monkeypatch.setattr(query_module, "ANSWER_BYTES", 2**20)
    with pytest.raises(StorageError, match=r"the answer is larger than .*: ask for fewer rows"):
        query(study, "from range(100000000000)")


def test_a_query_that_outgrows_the_memory_is_a_sentence_and_spills_nothing(study, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(query_module.SETTINGS, "memory_limit", "'64MB'")
    before = contents(tmp_path)
    with pytest.raises(StorageError, match="needs more memory than there is"):
        query(study, "select list(range) from range(100000000)")
    assert contents(tmp_path) == before


def test_a_query_that_fails_after_its_first_rows_is_a_sentence(study):
    """Arrow hands on the rows by and by, and what goes wrong among them comes as an error of its own."""
    with pytest.raises(StorageError, match=r"the query failed: .*too late"):
        query(study, "select case when i < 5000000 then i else error('too late') end from range(10000000) t(i)")


def test_memory_that_ends_among_the_rows_is_told_from_other_faults():
    def rows(words):
        yield 1
        raise OSError(words)

    with pytest.raises(duckdb.OutOfMemoryException):
        list(query_module._streamed(rows("Out of Memory Error: could not allocate block")))
    with pytest.raises(duckdb.InvalidInputException, match="schema mismatch"):
        list(query_module._streamed(rows("Invalid Input Error: schema mismatch in glob")))


def test_rows_come_in_the_order_asked_for(study):
    """Casts of a column stand around the statement: its order must survive them."""
    found = query(study, "select i, interval (i) day as d from range(300000) t(i) order by hash(i)")
    again = query(study, "select i from range(300000) t(i) order by hash(i)")
    assert found["i"].equals(again["i"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from range(100000000) a, range(1000000) b where a.range * b.range = 7",
        "with recursive t as (select 1 as a union all select a + 1 from t) select count(*) from t",
    ],
)
def test_ctrl_c_ends_a_query_that_would_never_end(study, sql):
    command = [sys.executable, "-m", "flows.cli", "query", str(study), sql]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and cpu_seconds(process.pid) < 3:  # well past the imports
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and b"Traceback" not in errors and b"interrupted" in errors


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
