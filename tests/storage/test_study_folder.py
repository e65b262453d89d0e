import errno
import math
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from storage import study as study_folder
from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.records import is_done, missing, record_path, records, write_record
from storage.study import SEAL, SHORT, config_hash, is_sealed, read_study
from storage.vouch import digest_of_bytes
from tests.parts import open_study


def test_execution_settings_do_not_change_a_study(tmp_path):
    first = open_study(tmp_path, {"seed": 1, "run": {"max_workers": 1}}, {"model_revision": "a"})
    assert open_study(tmp_path, {"seed": 1, "run": {"max_workers": 8}}, {"model_revision": "a"}) == first
    assert config_hash({"seed": 2}) != first


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    open_study(tmp_path, {"sae": {"k": [10], "lr": 1}}, {"model_revision": "a"})
    with pytest.raises(StorageError, match=r"sae\.k: \[10\] -> \[20\].*another --root"):
        open_study(tmp_path, {"sae": {"k": [20], "lr": 1}}, {"model_revision": "a"})


def test_a_setting_that_is_no_number_equals_itself(tmp_path):
    open_study(tmp_path, {"sae": {"lr": math.nan}}, {})
    assert open_study(tmp_path, {"sae": {"lr": math.nan}}, {}) == config_hash({"sae": {"lr": math.nan}})
    with pytest.raises(StorageError, match=r"sae.lr: nan -> 1.0"):
        open_study(tmp_path, {"sae": {"lr": 1.0}}, {})


def test_records_count_only_when_whole_and_of_this_configuration(tmp_path):
    write_record(tmp_path, "train", "mid/1.00/cond/k10", {"rows": 1}, "h")
    assert is_done(tmp_path, "train", "mid/1.00/cond/k10", "h")
    assert not is_done(tmp_path, "train", "mid/1.00/cond/k10", "other")
    assert records(tmp_path, "train") == ["mid/1.00/cond/k10"]
    record_path(tmp_path, "train", "mid/1.00/cond/k10").write_text('{"rows": 1, "conf')
    assert missing(tmp_path, "train", ["mid/1.00/cond/k10", "b"], "h") == ["mid/1.00/cond/k10", "b"]


def test_a_full_disk_is_said_and_the_old_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"disk full while writing .*what was finished is kept"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*study.yaml .File exists.: .* another --root"):
        write_atomic(tmp_path / "file" / "study.yaml", b"new")


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_what_is_no_study_folder_is_said(tmp_path, place):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"is not a study folder .* give the --root of a run"):
        read_study(tmp_path / place)


def sealed(text):
    """As ``study.yaml`` is written: its checksum in the first line."""
    data = text.encode()
    return f"{SEAL}: {digest_of_bytes(data)}\n".encode() + data


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.dates()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(st.text(), VALUES, min_size=1, max_size=5))
def test_what_is_written_is_read_back_alike_by_both_readers(content):
    data = sealed(yaml.safe_dump(content, sort_keys=False))
    assert is_sealed(data)
    study_folder._parsed.cache_clear()
    read = study_folder._parsed(data)
    read.pop(SEAL)
    assert read == content == yaml.safe_load(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize("form", ["brackets", "dashes"])
def test_a_file_of_brackets_inside_each_other_is_damaged_and_the_process_goes_on(tmp_path, form):
    """Whatever its checksum says: libyaml would end the process on the longer ones."""
    for depth in (SHORT // 3, 50_000):
        inner = "[" * depth + "]" * depth if form == "brackets" else "- " * depth + "x"
        for data in (sealed(f"config: {inner}\n"), sealed(f"config:\n  {inner}\n"), f"config: {inner}\n".encode()):
            (tmp_path / "study.yaml").write_bytes(data)
            with pytest.raises(StorageError, match=r"study.yaml is damaged"):
                read_study(tmp_path)


def test_the_faster_reader_reads_what_bears_its_checksum_and_is_short(monkeypatch):
    asked = []
    monkeypatch.setattr(study_folder, "FASTER", lambda text: asked.append(len(text)) or yaml.SafeLoader(text))
    long = "a: " + "b" * SHORT
    for data in (sealed("a: 1"), b"a: 1", sealed("a: 1") + b" ", sealed(long)):
        study_folder._parsed.cache_clear()
        assert "a" in study_folder._parsed(data)
    assert asked == [len(sealed("a: 1"))]
