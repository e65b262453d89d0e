"""A record vouches for itself: the quick look at its digest says what writing it anew would."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import SELF, _is_sealed, _text, record_path, records, write_record
from storage.vouch import digest_of_bytes


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    facts = {"rows": 8, "checksums": {"mid/1.00/cond": "0" * 64}, "tables": {"tags": {"part": "a", SELF: "1" * 64}}}
    write_record(root, "collect", "000000", facts, "hash")
    return record_path(root, "collect", "000000").read_bytes()


def written_anew(data, record):
    """What a record's own digest must be, from its first principles."""
    rest = {key: value for key, value in record.items() if key != SELF}
    return record.get(SELF) == digest_of_bytes(_text(rest)) and data == _text(record)


@given(st.data())
def test_no_byte_of_a_record_can_change_unseen(data, drawn):
    at, byte = drawn.draw(st.integers(0, len(data) - 1)), drawn.draw(st.integers(0, 255))
    changed = data[:at] + bytes([byte]) + data[at + 1 :]
    try:
        record = json.loads(changed)
    except ValueError:
        return
    if isinstance(record, dict):
        assert _is_sealed(changed, record) == written_anew(changed, record) == (changed == data)


LINES = {
    "repeated": lambda lines, seal: [*lines[:1], seal, *lines[1:]],
    "left out": lambda lines, seal: [line for line in lines if line != seal],
    "of another record": lambda lines, seal: [
        seal.replace(b"a", b"b").replace(b"0", b"1") if line == seal else line for line in lines
    ],
}


@pytest.mark.parametrize("how", LINES)
def test_a_digest_that_is_not_its_own_seals_nothing(data, how):
    lines = data.split(b"\n")
    (seal,) = (line for line in lines if line.startswith(f' "{SELF}"'.encode()))
    changed = b"\n".join(LINES[how](lines, seal))
    assert changed != data and not _is_sealed(changed, json.loads(changed))


def test_units_are_listed_by_their_names_whatever_lies_beside(tmp_path):
    for unit in ("000002", "mid/0.00/cond/k4", "000001", "a.b"):
        write_record(tmp_path, "collect", unit, {}, "hash")
    for stray in (".hidden.json", "mid/.000009.json.77.tmp", "notes.txt"):
        (tmp_path / "done" / "collect" / stray).write_text("{}")
    assert records(tmp_path, "collect") == ["000001", "000002", "a.b", "mid/0.00/cond/k4"]
    assert records(tmp_path, "train") == []
