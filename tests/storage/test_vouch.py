"""What a record vouches for is read and checked; what lies beside it is not read."""

import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import vouch
from storage.errors import StorageError
from storage.publish import publish_run
from storage.query import query
from storage.records import is_done, read_record, record_path, records, whole_records, write_record
from storage.study import read_study
from storage.tables import checked_parts, count_rows, open_parts, parts, read_table, store_part
from tests.parts import add_part, make_old, open_study

TAG = {"prompt_id": 1, "label": "tree", "score": 0.5, "tagger": "mini"}
RUN = "collect-38652016-3e4d-41a4-918d-65d054c5e4d4"


def run_row(name: str) -> dict:
    stage, run_id = name.split("-", 1)
    about = {"config_hash": "h", "git_sha": None, "versions": "{}"}
    return {"run_id": run_id, "stage": stage, "started": 0, "ended": 1, **about}


@pytest.fixture
def root(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    add_part(tmp_path, "tags", "000000", [TAG])
    return tmp_path


@pytest.mark.parametrize("name", ["._000000", "000000-conflict", "000000 (1)", "000001", "empty"])
def test_a_part_that_no_record_names_is_not_read(root, name):
    stray = root / "tables" / "tags" / f"{name}.parquet"
    if name == "empty":
        stray.write_bytes(b"")
    else:
        shutil.copy(root / "tables" / "tags" / "000000.parquet", stray)
    assert read_table(root, "tags").num_rows == count_rows(root, "tags") == len(parts(root, "tags")) == 1
    assert query(root, "select count(*) n from tags")["n"].to_pylist() == [1]


def test_a_named_part_that_is_gone_is_an_error_and_not_an_empty_table(root):
    (root / "tables" / "tags" / "000000.parquet").unlink()
    for read in (read_table, checked_parts):
        with pytest.raises(StorageError, match=r"000000.parquet is missing, .* run `concepts repair`"):
            read(root, "tags")
    with pytest.raises(StorageError, match=r"000000.parquet is missing"):
        query(root, "select * from tags")


def test_every_flip_of_a_part_is_noticed_when_it_is_read(root):
    path = root / "tables" / "tags" / "000000.parquet"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StorageError, match=r"000000.parquet is damaged"):
            read_table(root, "tags")
    path.write_bytes(whole)
    assert read_table(root, "tags").num_rows == 1


def test_a_page_that_changes_after_its_file_was_checked_is_noticed(root):
    rows = [{**TAG, "prompt_id": i, "label": f"word {i * 7919 % 1000}"} for i in range(1000)]
    path = add_part(root, "tags", "000001", rows)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(0).column(0)
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        open_parts("tags", [path]).to_table()


def test_every_flip_of_a_record_is_noticed(root):
    path = record_path(root, "tag", "000000")
    whole = path.read_bytes()
    assert is_done(root, "tag", "000000", "h")
    for at in range(len(whole)):
        for bit in (1, 32):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            assert read_record(root, "tag", "000000") is None
            with pytest.raises(StorageError, match=r"000000.json is damaged .* run `concepts repair`"):
                read_table(root, "tags")


def test_a_record_copied_under_another_name_vouches_for_nothing(root):
    path = record_path(root, "tag", "000000")
    shutil.copy(path, path.with_name("000001.json"))
    shutil.copy(path, path.with_name("._000000.json"))
    assert read_record(root, "tag", "000001") is None
    assert list(whole_records(root, "tag")) == ["000000"] and count_rows(root, "tags") == 1
    assert records(root, "tag") == ["000000", "000001"]


def test_records_of_before_are_read(root):
    make_old(root, "tag", "000000")
    assert "sha256" not in record_path(root, "tag", "000000").read_text().split('"tables"')[0]
    assert is_done(root, "tag", "000000", "h") and read_table(root, "tags").num_rows == 1
    # rewritten, as a revision does, it has a digest
    record = read_record(root, "tag", "000000")
    write_record(root, "tag", "000000", record, "other")
    assert is_done(root, "tag", "000000", "other") and "sha256" in read_record(root, "tag", "000000")


@pytest.mark.parametrize("above", ["k=99", "label=tree", "prompt_id=7", "[a]", "per%20cent", "a b"])
def test_folders_above_a_study_say_nothing_about_its_rows(tmp_path, above):
    add_part(tmp_path / above, "tags", "000000", [TAG])
    assert read_table(tmp_path / above, "tags").to_pylist() == [TAG]


def test_a_file_is_hashed_once_while_it_stays_the_same(root, monkeypatch):
    hashed = []
    real = vouch.digest_of
    monkeypatch.setattr(vouch, "digest_of", lambda path: hashed.append(Path(path).name) or real(path))
    path = add_part(root, "tags", "000001", [{**TAG, "prompt_id": 2}])
    for _ in range(5):
        read_table(root, "tags")
    assert hashed.count("000001.parquet") == 1
    before = path.stat()
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"?")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(StorageError, match=r"000001.parquet is damaged"):
        read_table(root, "tags")
    assert hashed.count("000001.parquet") == 2


def test_a_part_replaced_while_it_is_looked_at_is_looked_at_again(root, monkeypatch):
    from storage import tables

    real, calls = tables.check, []

    def replaced_meanwhile(path, digest):
        if not calls:
            add_part(root, "tags", "000000", [{**TAG, "score": 0.25}])
        calls.append(path)
        real(path, digest)

    monkeypatch.setattr(tables, "check", replaced_meanwhile)
    assert read_table(root, "tags")["score"].to_pylist() == [0.25]


def test_rows_of_runs_have_records_and_those_of_before_get_them(root):
    store_part(root, "runs", RUN, [run_row(RUN)])
    store_part(root, "runs", "copy of a part", [run_row("train-x")])
    assert read_table(root, "runs")["stage"].to_pylist() == ["collect"]
    later = RUN.replace("collect", "train").replace("38652016", "38652017")
    publish_run(root, later, run_row(later))
    assert records(root, "runs") == [RUN, later]
    assert sorted(read_table(root, "runs")["stage"].to_pylist()) == ["collect", "train"]
    flipped = bytearray((root / "tables" / "runs" / f"{RUN}.parquet").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (root / "tables" / "runs" / f"{RUN}.parquet").write_bytes(flipped)
    with pytest.raises(StorageError, match=r"runs/collect-.* is damaged"):
        read_table(root, "runs")


@given(
    at=st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True),
    cut=st.integers(1, 5),
    op=st.sampled_from(["==", "in", ">=", ">", "<=", "<", "!="]),
    value=st.integers(-2, 62),
)
@settings(max_examples=40, deadline=None)
def test_parts_left_unopened_hold_nothing_that_was_asked_for(tmp_path_factory, at, cut, op, value):
    root = tmp_path_factory.mktemp("study")
    ids = sorted(at)
    for low in range(0, len(ids), cut):
        add_part(root, "tags", f"{low:06d}", [{**TAG, "prompt_id": i} for i in ids[low : low + cut]])
    given_value = [value, value + 3] if op == "in" else value
    compare = {
        "==": value.__eq__, "in": [value, value + 3].__contains__, ">=": value.__le__, ">": value.__lt__,
        "<=": value.__ge__, "<": value.__gt__, "!=": value.__ne__,
    }  # fmt: skip
    found = read_table(root, "tags", ["prompt_id"], [("prompt_id", op, given_value)])["prompt_id"].to_pylist()
    assert found == [i for i in ids if compare[op](i)]


def test_a_part_out_of_range_is_not_read(root):
    other = add_part(root, "tags", "000001", [{**TAG, "prompt_id": 9}])
    other.write_bytes(b"damaged")
    assert read_table(root, "tags", filters=[("prompt_id", "in", [0, 1])]).num_rows == 1
    with pytest.raises(StorageError, match=r"000001.parquet is damaged"):
        read_table(root, "tags", filters=[("prompt_id", "in", [1, 9])])


def test_every_flip_of_study_yaml_is_noticed(tmp_path):
    open_study(
        tmp_path, {"name": "x", "seed": 0, "run": {"max_workers": 2}}, {"git_sha": "a", "versions": {"torch": "2"}}
    )
    path = tmp_path / "study.yaml"
    whole = path.read_bytes()
    assert "sha256" not in read_study(tmp_path) and whole.startswith(b"sha256: ")
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StorageError):
            read_study(tmp_path)
    path.write_bytes(whole.partition(b"\n")[2])
    with pytest.raises(StorageError, match=r"study.yaml is damaged .* run `concepts repair`"):
        read_study(tmp_path)
