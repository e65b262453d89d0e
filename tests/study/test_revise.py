"""Revising a study whose settings name files."""

import pytest

from storage.errors import StorageError
from study.config import load_config
from study.opening import open_or_create
from study.revise import plan_revision
from tests.paths import ROOT


def config(*overrides):
    return load_config(ROOT / "configs" / "tiny.yaml", list(overrides))


def test_a_file_that_changed_under_its_name_is_not_taken_along(tmp_path):
    words = tmp_path / "words.tsv"
    words.write_text("dog\tanimal\n")
    named = f"labels.hierarchy={words}"
    open_or_create(tmp_path / "study", config(named))
    words.write_text("dog\tpet\n")
    with pytest.raises(StorageError, match=r"labels.hierarchy names was changed"):
        open_or_create(tmp_path / "study", config(named))
    with pytest.raises(StorageError, match=r"labels.hierarchy names was changed"):
        plan_revision(tmp_path / "study", config(named, "labels.assign_iou=0.3"))
    (tmp_path / "pets.tsv").write_text("dog\tpet\n")
    planned = plan_revision(tmp_path / "study", config(f"labels.hierarchy={tmp_path / 'pets.tsv'}"))
    assert list(planned.settings) == ["labels.hierarchy"]
