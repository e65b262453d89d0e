"""Every type of DuckDB in every form of an answer: what is written is read back by another program's reader."""

import csv
import io
import json
import re
from datetime import date, datetime, time
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.query import query
from storage.render import FORMATS, render
from storage.shape import MACRO, distinct
from storage.text import cut, padded, printable, width
from tests.parts import open_study

UUID = "6a0b5b9c-0000-4000-8000-000000000000"
BIG = 2**127 - 1
# name: (SQL, JSON, CSV where it is not the JSON as text, Parquet where it is not what JSON has, a text table where
# it is not the field of the CSV)
VALUES = {
    "boolean": ("true", True, "true", True, "True"),
    "tinyint": ("(-7)::tinyint", -7),
    "ubigint": ("18446744073709551615::ubigint", 2**64 - 1),
    "bigint": ("9223372036854775807", 2**63 - 1),
    "hugeint": ("5::hugeint", 5),
    "sum": ("(select sum(range) from range(5))", 10),
    "large hugeint": (f"{BIG}::hugeint", str(BIG)),
    "smallest hugeint": (f"(-{BIG})::hugeint", str(-BIG)),
    "uhugeint": (f"{2**128 - 1}::uhugeint", str(2**128 - 1)),
    "double": ("0.1::double", 0.1),
    "float": ("0.5::float", 0.5),
    "nan": ("'nan'::double", "NaN", "nan", float("nan"), "nan"),
    "infinity": ("'inf'::double", "Infinity", "inf", float("inf"), "inf"),
    "float -infinity": ("'-inf'::float", "-Infinity", "-inf", float("-inf"), "-inf"),
    "decimal": ("1.10::decimal(4, 2)", 1.1, "1.10", Decimal("1.10")),
    "decimal sum": ("(select sum(a) from (values (0.10), (0.20)) v(a))", 0.3, "0.30", Decimal("0.30")),
    "small decimal": ("0.0000000001::decimal(12, 10)", 1e-10, "0.0000000001", Decimal("1E-10")),
    "whole decimal": ("7::decimal(38, 0)", 7, "7", Decimal(7)),
    "long decimal": ("12345678901234567890.5::decimal(38, 1)", "12345678901234567890.5", None,
                     Decimal("12345678901234567890.5")),
    "bignum": (f"'{10**50}'::bignum", str(10**50)),
    "text": ("'木 \"x\", y'", '木 "x", y'),
    "empty text": ("''", ""),
    "controls": ("'a' || chr(27) || '[2J' || chr(10) || 'b'", "a\x1b[2J\nb", None, "a\x1b[2J\nb", r"a\x1b[2J\nb"),
    "null": ("null", None, "", None, "NULL"),
    "blob": (r"'\xAA\x00b'::blob", "qgBi", None, b"\xaa\x00b", "<3 bytes>"),
    "bit": ("'10101'::bit", "10101"),
    "uuid": (f"'{UUID}'::uuid", UUID),
    "enum": ("'b'::enum('a', 'b')", "b"),
    "json": ("'{\"a\": 1}'::json", '{"a": 1}'),
    "date": ("date '2020-02-29'", "2020-02-29", None, date(2020, 2, 29)),
    "infinite date": ("'infinity'::date", "infinity", None, ...),
    "date of an age ago": ("date '0044-03-15 (BC)'", "0044-03-15 (BC)", None, ...),
    "far date": ("date '20000-01-01'", "20000-01-01", None, ...),
    "time": ("time '12:34:56.789'", "12:34:56.789", None, time(12, 34, 56, 789000)),
    "midnight at the end": ("time '24:00:00'", "24:00:00", None, ...),
    "time with zone": ("'12:34:56+02'::timetz", "12:34:56+02"),
    "timestamp": ("timestamp '2020-01-01 00:00:00.5'", "2020-01-01 00:00:00.5", None,
                  datetime(2020, 1, 1, 0, 0, 0, 500000)),
    "timestamp with zone": ("timestamptz '2020-01-01 00:00:00+02'", "2019-12-31 22:00:00+00", None, ...),
    "timestamp in ns": ("'2020-01-01 00:00:00.123456789'::timestamp_ns", "2020-01-01 00:00:00.123456789", None, ...),
    "timestamp in s": ("'2020-01-01'::timestamp_s", "2020-01-01 00:00:00", None, datetime(2020, 1, 1)),
    "infinite timestamp": ("'-infinity'::timestamp", "-infinity", None, ...),
    "interval": ("interval '1 year 2 months 3 days 4 hours 5.000006 seconds'", "P1Y2M3DT4H5.000006S"),
    "negative interval": ("interval '-1 month -3 hours -0.5 seconds'", "P-1MT-3H-0.5S"),
    "no interval": ("interval '0 days'", "PT0S"),
    "interval beyond nanoseconds": ("interval '3000000 hours'", "PT3000000H"),
    "list": ("[1, null, 3]", [1, None, 3], "[1, null, 3]"),
    "empty list": ("[]", [], "[]"),
    "null list": ("null::integer[]", None, "", None, "NULL"),
    "list of blobs": (r"['\xFF'::blob]", ["/w=="], '["/w=="]', [b"\xff"]),
    "list of nan": ("['nan'::double, 1]", ["NaN", 1.0], '["NaN", 1.0]', ...),
    "list of decimals": ("[1.5, 2.25]", [1.5, 2.25], "[1.5, 2.25]", [Decimal("1.50"), Decimal("2.25")]),
    "list of dates": ("['infinity'::date]", ["infinity"], '["infinity"]', ...),
    "list of sums": ("[5::hugeint]", [5], "[5]"),
    "array": ("[1, 2]::integer[2]", [1, 2], "[1, 2]"),
    "null array": ("null::integer[2]", None, "", None, "NULL"),
    "array of intervals": ("[interval '1 day']::interval[1]", ["P1D"], '["P1D"]'),
    "struct": ("{'a': 1, 'b c': ['x']}", {"a": 1, "b c": ["x"]}, '{"a": 1, "b c": ["x"]}'),
    "null struct": ("null::struct(a interval)", None, "", None, "NULL"),
    "struct of odd types": (f"{{'i': interval '1 day', 'h': {BIG}::hugeint, 't': time '24:00:00'}}",
                            {"i": "P1D", "h": str(BIG), "t": "24:00:00"},
                            f'{{"i": "P1D", "h": "{BIG}", "t": "24:00:00"}}', ...),
    "row": ("row(1, row('x', interval '1 day'))", {"element1": 1, "element2": {"element1": "x", "element2": "P1D"}},
            '{"element1": 1, "element2": {"element1": "x", "element2": "P1D"}}'),
    "map": ("map{'k': 1}", {"k": 1}, '{"k": 1}', [("k", 1)]),
    "map of numbers": ("map{1: interval '1 hour'}", {"1": "PT1H"}, '{"1": "PT1H"}', [(1, "PT1H")]),
    "map of lists": ("map{['a']: {'b': [interval '1 hour', null]}}", {'["a"]': {"b": ["PT1H", None]}},
                     '{"[\\"a\\"]": {"b": ["PT1H", null]}}', [(["a"], {"b": ["PT1H", None]})]),
    "union": ("union_value(num := 2)", "2"),
    "list of unions": ("[union_value(num := 2)]", ["2"], '["2"]'),
    "deep": ("[[{'a': map{'b': [null, interval '1 day']}}, null], null]",
             [[{"a": {"b": [None, "P1D"]}}, None], None], '[[{"a": {"b": [null, "P1D"]}}, null], null]', ...),
}  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("answers")
    open_study(root, {"name": "x"}, {})
    return root


def answer(study, sql, form):
    return render(query(study, sql, form), form)


def strict(data):
    def refuse(name):
        raise AssertionError(f"bare {name} is not JSON")

    return json.loads(data, parse_constant=refuse)


def field(value):
    return value if isinstance(value, str) else str(value)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_every_type_in_json_and_csv(study, name):
    sql, expected, *more = VALUES[name]
    assert strict(answer(study, f"select {sql} as v, 1 as w", "json")) == [{"v": expected, "w": 1}]
    text = more[0] if more and more[0] is not None else field(expected)
    assert list(csv.reader(io.StringIO(answer(study, f"select {sql} as v, 1 as w", "csv").decode()))) == [
        ["v", "w"],
        [text, "1"],
    ]


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_every_type_in_a_text_table(study, name):
    sql, expected, *more = VALUES[name]
    text = more[0] if more and more[0] is not None else field(expected)
    cell = more[2] if len(more) > 2 else cut(printable(text), 60)
    lines = answer(study, f"select {sql} as v", "table").decode().split("\n")
    assert len(lines) == 4 and lines[2].strip() == (cell if name not in ("bigint", "ubigint") else text).strip()


@pytest.mark.parametrize("name", VALUES)
def test_a_value_of_every_type_in_parquet(study, name):
    """Read back by Arrow, whose values are given, and by DuckDB, to which nothing may be lost that is not text."""
    sql, expected, *more = VALUES[name]
    data = answer(study, f"select {sql} as v", "parquet")
    wanted = more[1] if len(more) > 1 else expected
    if wanted is not ...:
        (value,) = pq.read_table(io.BytesIO(data))["v"].to_pylist()
        assert value == wanted or (value != value and wanted != wanted)
    original = duckdb.sql(f"select {sql} as v")
    back = duckdb.from_arrow(pq.read_table(io.BytesIO(data)))
    if original.types[0] == back.types[0] and original.types[0].id not in ("json", "timestamp with time zone"):
        assert str(original.fetchall()) == str(back.fetchall())


def test_duckdbs_own_example_of_every_type_has_a_form_in_every_format(study):
    """Its smallest and largest values and NULL of every type it has, whatever its version."""
    table = query(study, "from test_all_types()")
    assert table.num_rows == 3 and table.num_columns > 50
    rows = strict(answer(study, "from test_all_types()", "json"))
    assert len(rows) == 3 and rows[2] == dict.fromkeys(table.column_names)
    assert len(list(csv.reader(io.StringIO(answer(study, "from test_all_types()", "csv").decode())))) == 4
    assert pq.read_table(io.BytesIO(answer(study, "from test_all_types()", "parquet"))).num_rows == 3
    assert all(line.isprintable() for line in answer(study, "from test_all_types()", "table").decode().split("\n"))


@pytest.mark.parametrize(("sql", "names"), [
    ("select 1 as x, 2 as x, 3 as x", ["x", "x_1", "x_2"]),
    ("select 1 as x, 2 as x_1, 3 as x", ["x", "x_1", "x_2"]),
    ("select 1 as x, 2 as x, 3 as x_1", ["x", "x_2", "x_1"]),
    ("""select 1 as "a ""b" """, ['a "b']),
    ("select a.v, b.v from (select 1 as v) a, (select interval '1 day' as v) b", ["v", "v_1"]),
])  # fmt: skip
def test_columns_of_equal_names_are_told_apart_in_every_format(study, sql, names):
    assert query(study, sql).column_names == names
    assert list(strict(answer(study, sql, "json"))[0]) == names
    assert next(csv.reader(io.StringIO(answer(study, sql, "csv").decode()))) == names
    assert pq.read_table(io.BytesIO(answer(study, sql, "parquet"))).column_names == names


@given(st.lists(st.sampled_from(["a", "a_1", "a_2", "b", "a_1_1"]), max_size=12))
def test_distinct_names_are_distinct_and_keep_what_is_distinct_already(names):
    found = distinct(names)
    assert len(set(found)) == len(names) and all(f.startswith(n) for f, n in zip(found, names, strict=True))
    assert [f for f, n in zip(found, names, strict=True) if names.count(n) == 1] == [
        n for n in names if names.count(n) == 1
    ]


def test_an_answer_without_rows_has_its_columns(study):
    sql = "select 1 as a, [interval '1 day'] as b where false"
    assert answer(study, sql, "json") == b"[]\n"
    assert answer(study, sql, "csv") == b'"a","b"\n'
    assert answer(study, sql, "table") == b"a  b\n-  -\n"
    assert pq.read_table(io.BytesIO(answer(study, sql, "parquet"))).column_names == ["a", "b"]


def test_an_unknown_format_is_refused(study):
    with pytest.raises(StorageError, match=f"choose one of {', '.join(FORMATS)}"):
        render(pa.table({"a": [1]}), "xml")


def test_many_rows_are_one_document(study):
    sql = "select range as i, case when range % 3 > 0 then range / 4 end as x from range(10000)"
    rows = strict(answer(study, sql, "json"))
    assert [row["i"] for row in rows] == list(range(10000)) and rows[5] == {"i": 5, "x": 1.25}
    lines = list(csv.reader(io.StringIO(answer(study, sql, "csv").decode())))
    assert len(lines) == 10001 and lines[1] == ["0", ""] and lines[10000] == ["9999", ""]
    assert json.dumps(rows, indent=1) + "\n" == answer(study, sql, "json").decode()


def test_a_column_is_numbers_or_text_as_a_whole(study):
    """A value that does not fit turns its column to text, so that nobody meets both."""
    sql = f"select * from (values (1::hugeint, 1.5::decimal(38, 1)), ({BIG}, 12345678901234567890.5)) v(h, d)"
    assert strict(answer(study, sql, "json")) == [
        {"h": "1", "d": "1.5"},
        {"h": str(BIG), "d": "12345678901234567890.5"},
    ]


PARTS = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?)(\d+)(?:\.(\d{1,6}))?S)?)?"
)


@settings(max_examples=60)
@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**62), 2**62))
def test_an_interval_in_iso_8601_is_the_interval(months, days, microseconds):
    connection = duckdb.connect()
    connection.execute(MACRO)
    made = "to_months(?::integer) + to_days(?::integer) + to_microseconds(?::bigint)"
    (text,) = connection.execute(f"select iso_interval({made})", [months, days, microseconds]).fetchone()
    found = PARTS.fullmatch(text)
    assert found, text
    y, m, d, hours, minutes = (int(part or 0) for part in found.groups()[:5])
    sign, seconds, fraction = found.groups()[5:]
    small = (int(seconds or 0) * 10**6 + int((fraction or "").ljust(6, "0"))) * (-1 if sign else 1)
    assert (12 * y + m, d, (hours * 60 + minutes) * 60 * 10**6 + small) == (months, days, microseconds)


@given(st.text(st.characters(codec="utf-8")))
def test_what_is_printed_moves_no_cursor(text):
    shown = printable(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert printable(shown) == shown
    assert width(cut(shown, 10)) <= 10 and width(padded(cut(shown, 10), 12)) == 12


def test_lone_surrogates_of_a_file_name_are_shown():
    assert printable("a\udce9b") == r"a\udce9b"


def test_wide_characters_keep_the_columns_of_a_table_straight(study):
    sql = "select * from (values ('木木', 1), ('ab', 22), ('e' || chr(769), 3), (chr(8238) || 'x', 4)) v(label, n)"
    lines = answer(study, sql, "table").decode().split("\n")
    assert lines == [
        "label    n",
        "-------  --",
        "木木      1",
        "ab       22",
        "e\u0301         3",
        r"\u202ex   4",
        "",
    ]


def test_long_text_is_cut_in_a_table_and_whole_elsewhere(study):
    sql = "select repeat('木', 1000) as v"
    assert width(answer(study, sql, "table").decode().split("\n")[2]) <= 60
    assert strict(answer(study, sql, "json"))[0]["v"] == "木" * 1000
