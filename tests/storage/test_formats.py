"""Versions of what lies in a study folder: none is the first, older ones are read, newer ones refused."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.formats import FIRST, KEY, RECORD, STUDY, TABLE, TABLE_KEY, NewerFormat, format_of
from storage.publish import publish_unit
from storage.records import is_done, read_record, record_path, write_record
from storage.study import begin_revision, config_hash, differences, read_study, with_legacy, without_legacy
from storage.tables import read_table
from tests.parts import open_study


@given(st.integers(1, 50), st.integers(1, 50))
def test_what_is_not_newer_is_read(found, known):
    if found <= known:
        assert format_of(found, known, "file") == found
        assert format_of(None, known, "file") == FIRST
    else:
        with pytest.raises(NewerFormat, match=r"^file was written by a newer version .* upgrade concept-atlas$"):
            format_of(found, known, "file")


@pytest.mark.parametrize("nonsense", [0, -1, True, 1.0, "2", [], b"2"])
def test_what_is_no_version_is_damage(nonsense):
    with pytest.raises(StorageError, match="is damaged") as error:
        format_of(nonsense, 2, "file")
    assert not isinstance(error.value, NewerFormat)


def test_a_study_says_its_format_and_a_newer_one_is_refused(tmp_path):
    open_study(tmp_path, {"seed": 1}, {})
    known = yaml.safe_load((tmp_path / "study.yaml").read_text())
    assert known[KEY] == STUDY
    begin_revision(tmp_path, {"seed": 2}, {}, ["seed"], "hash")
    assert read_study(tmp_path)[KEY] == STUDY
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({KEY: STUDY + 1, "anything": "else"}))
    for use in (lambda: read_study(tmp_path), lambda: open_study(tmp_path, {"seed": 1}, {})):
        with pytest.raises(NewerFormat, match=r"study.yaml was written by a newer version"):
            use()


def test_a_study_from_before_there_were_formats_is_read(tmp_path):
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump({"config_hash": config_hash({"seed": 1}), "config": {"seed": 1}})
    )
    assert open_study(tmp_path, {"seed": 1}, {}) == config_hash({"seed": 1})


def test_a_record_says_its_format_and_a_newer_one_is_refused(tmp_path):
    write_record(tmp_path, "tag", "000000", {"tables": {}}, "h")
    assert read_record(tmp_path, "tag", "000000")[KEY] == RECORD
    write_record(tmp_path, "tag", "000000", {KEY: FIRST}, "h")  # rewritten, it stays what it is
    assert read_record(tmp_path, "tag", "000000")[KEY] == FIRST
    path = record_path(tmp_path, "tag", "000000")
    path.write_text(json.dumps({KEY: RECORD + 1, "config_hash": "h"}))
    with pytest.raises(NewerFormat, match=r"000000.json was written by a newer version"):
        is_done(tmp_path, "tag", "000000", "h")
    path.write_text(json.dumps({KEY: "?", "config_hash": "h"}))  # damaged: not done
    assert not is_done(tmp_path, "tag", "000000", "h")
    path.write_text(json.dumps({"config_hash": "h"}))  # from before
    assert is_done(tmp_path, "tag", "000000", "h")


ADDED = {"a.new": 0, "only": None}


def test_an_added_setting_at_its_legacy_value_is_no_difference():
    old, same, other = {"a": {"x": 1}}, {"a": {"x": 1, "new": 0}, "only": None}, {"a": {"x": 1, "new": 2}, "only": None}
    assert config_hash(same, ADDED) == config_hash(old, ADDED) == config_hash(old)
    assert config_hash(other, ADDED) != config_hash(old)
    assert differences(with_legacy(old, ADDED), same) == {}
    assert differences(with_legacy(old, ADDED), other) == {"a.new": (0, 2)}
    assert without_legacy(same, ADDED) == old and same["a"]["new"] == 0
    assert with_legacy({"a": None}, ADDED) == {"a": None, "only": None}  # a group that is not there stays away


def test_a_study_without_an_added_setting_opens_at_its_legacy_value_only(tmp_path):
    digest = open_study(tmp_path, {"a": {"x": 1}}, {})
    assert open_study(tmp_path, {"a": {"x": 1, "new": 0}}, {}, added=ADDED) == digest
    with pytest.raises(StorageError, match=r"a.new: 0 -> 2"):
        open_study(tmp_path, {"a": {"x": 1, "new": 2}}, {}, added=ADDED)


def test_a_part_says_its_format_twice_and_a_newer_one_is_refused(tmp_path):
    row = {"prompt_id": 0, "label": "tree", "score": 1.0, "tagger": "fixed"}
    publish_unit(tmp_path, "tag", "000000", {"tags": [row]}, "000000", "h")
    metadata = pq.read_schema(tmp_path / "tables" / "tags" / "000000.parquet").metadata
    assert metadata[TABLE_KEY] == str(TABLE).encode()
    record = read_record(tmp_path, "tag", "000000")
    assert record["tables"]["tags"][KEY] == TABLE and read_table(tmp_path, "tags").num_rows == 1
    for version in (None, TABLE + 1):  # of before there were formats, and of a version to come
        facts = {**record["tables"]["tags"], KEY: version}
        write_record(tmp_path, "tag", "000000", {**record, "tables": {"tags": facts}}, "h")
        if version is None:
            assert read_table(tmp_path, "tags").num_rows == 1
            continue
        with pytest.raises(NewerFormat, match=r"000000.parquet was written by a newer version"):
            read_table(tmp_path, "tags")
