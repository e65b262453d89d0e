"""One rule for what becomes part of a path, and for the folders that a study may be made in."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StorageError
from storage.names import refuse_name, refuse_names, refuse_root

GOOD = ["mid", "up_1", "down-2", "v1.4", "traffic light", "rock 'n' roll", "t-shirt", "日本語", "हिंदी", "café", "_x"]
BAD = [
    "",
    ".",
    "..",
    "../x",
    "/abs",
    "a/b",
    "a\\b",
    " a",
    "a ",
    "a.",
    ".a",
    "-a",
    "a\n",
    "a\0b",
    "a:b",
    "a*",
    "a=b",
    "[a]",
]


@pytest.mark.parametrize("name", GOOD)
def test_ordinary_names_pass(name, tmp_path):
    refuse_name(name, "name")
    (tmp_path / name).touch()


@pytest.mark.parametrize("name", [*BAD, "[a]", "~", "~root", "#1", "x" * 101, "é" * 51, "\u202ea", "a\ud800"])
def test_names_that_are_no_files_name_are_refused(name):
    with pytest.raises(StorageError, match=r"^sites.blocks: .* cannot be a name .it becomes part of file names"):
        refuse_name(name, "sites.blocks:")


@given(st.text(max_size=12))
def test_a_name_that_passes_stays_within_its_folder(name):
    folder = Path("/studies/one")
    try:
        refuse_name(name, "name")
    except StorageError:
        return
    path = folder / f"{name}.json"
    assert path.parent == folder and Path(*path.parts) == path and name == name.strip() and not name.startswith(".")


def test_names_that_differ_in_case_alone_are_one_file_somewhere():
    refuse_names(["mid", "up"], "blocks")
    for pair in (["Mid", "mid"], ["café", "cafe\u0301"], ["a", "a"]):
        with pytest.raises(StorageError, match="would be one file where upper and lower case are the same"):
            refuse_names(pair, "blocks")


@pytest.mark.parametrize("root", ["", " ", "a\nb", "s3://bucket/x", Path("https://a/b"), "gs://a"])
def test_what_is_no_local_folder_is_refused(root):
    with pytest.raises(StorageError, match="--root"):
        refuse_root(root)


def test_a_study_is_made_in_a_folder_of_its_own(tmp_path, monkeypatch):
    for root in (tmp_path / "new" / "deep", tmp_path):
        refuse_root(root)  # there is nothing yet, or nothing in it
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "lost+found").mkdir()
    refuse_root(tmp_path)
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path, ".", "./", "/"):
        with pytest.raises(StorageError, match=r"is not empty .* and holds no study: give a folder of its own"):
            refuse_root(root)
    with pytest.raises(StorageError, match="is a file"):
        refuse_root("notes.txt")
    (tmp_path / "study.yaml").touch()
    refuse_root(".")
    with pytest.raises(StorageError, match=f"lies inside the study {tmp_path}: choose a --root beside it"):
        refuse_root("runs/inner")


def test_results_without_their_study_are_not_taken_for_an_empty_folder(tmp_path):
    (tmp_path / "done").mkdir()
    with pytest.raises(StorageError, match=r"holds a study's results but no study.yaml: put it back"):
        refuse_root(tmp_path)
