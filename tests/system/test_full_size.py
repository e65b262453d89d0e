"""The checks at the end of benchmarks/full_size.py, on a study that is right and on answers that are wrong."""

import pytest

from benchmarks import full_size

pytestmark = pytest.mark.system


def test_a_right_study_passes_and_wrong_edits_are_said(tiny_study, monkeypatch):
    assert full_size.check_study(tiny_study) == []
    untouched = {"kind": "spatial", "control": "none", "outside_change": 0.0}
    monkeypatch.setattr(full_size, "_edited", lambda root: [untouched, {**untouched, "kind": "global"}])
    assert full_size.check_study(tiny_study) == [
        "no spatial edit changed its image",
        "no global edit changed its image",
    ]
    moved = {"kind": "spatial", "control": "unedited", "outside_change": 0.1}
    monkeypatch.setattr(full_size, "_edited", lambda root: [moved])
    assert "an unedited image differs from itself" in full_size.check_study(tiny_study)
