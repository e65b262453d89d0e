"""What pages would wait for is hashed beforehand, and what is damaged is still told by the page that meets it."""

import gc
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import storage.vouch
from concept_atlas import AtlasError
from explorer.app import application
from explorer.server import ready
from explorer.source import Source
from storage.records import write_record
from storage.tables import part_path
from storage.vouch import digest_of

CONCEPT = "/mid/0.50/cond/k4/0"
DICTIONARY = "saes/mid/0.50/cond/k4/sae_weights.safetensors"
CONTROL = "saes/mid/0.50/cond/k4/untrained/sae_weights.safetensors"


@pytest.fixture
def folder(root, tmp_path, monkeypatch):
    """A study with a dictionary and a control, none of whose files this process has hashed yet."""
    made = shutil.copytree(root, tmp_path / "study")
    for name in (DICTIONARY, CONTROL):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(name.encode())
    files = {name: digest_of(made / name) for name in (DICTIONARY, CONTROL)}
    write_record(made, "train", "mid-0.50-cond", {"files": files}, "x")
    monkeypatch.setattr("storage.vouch._known", {})
    return made


@pytest.fixture
def hashed(monkeypatch):
    """The files that are hashed, in their order."""
    paths, digest = [], storage.vouch.digest_of
    monkeypatch.setattr("storage.vouch.digest_of", lambda path: paths.append(Path(path)) or digest(path))
    return paths


def test_dictionaries_and_what_pages_read_of_them_are_hashed_once_and_controls_are_not(folder, hashed):
    source = Source(folder)
    hashed.clear()
    frozen = gc.get_freeze_count()
    gc.collect()
    ready(source)
    assert gc.get_freeze_count() > frozen  # a page does not wait for a search among what is held by now
    assert hashed[0] == folder / DICTIONARY and folder / CONTROL not in hashed
    parts = [part_path(folder, "concept_labels", f"mid-{t}-cond-k4") for t in ("0.50", "1.00")]
    assert set(parts) < set(hashed)
    hashed.clear()
    assert TestClient(application(source), base_url="http://localhost").get(CONCEPT).status_code == 200
    assert not {path.parent.name for path in hashed} & {"concept_labels", "concepts", "concept_examples"}


def test_no_more_is_hashed_than_was_said(folder, hashed):
    source = Source(folder)
    hashed.clear()
    assert source.atlas.check_ahead(["concepts"], 0) == 0 and not hashed
    size = (folder / DICTIONARY).stat().st_size
    assert source.atlas.check_ahead(["concepts"], size) == size and hashed == [folder / DICTIONARY]
    with pytest.raises(AtlasError, match="there is no table 'nope'"):
        source.atlas.check_ahead(["nope"], size)


def test_what_is_missing_or_damaged_is_passed_over_and_told_by_its_page(folder, hashed):
    (folder / DICTIONARY).unlink()
    part = part_path(folder, "concept_labels", "mid-0.50-cond-k4")
    part.write_bytes(part.read_bytes()[:-9])
    source = Source(folder)
    ready(source)
    answer = TestClient(application(source), base_url="http://localhost").get(CONCEPT)
    assert answer.status_code == 503 and "is damaged" in answer.text


def test_a_damaged_record_keeps_no_page_from_being_served(folder):
    source = Source(folder)
    (folder / "done" / "train" / "mid-0.50-cond.json").write_text("{")
    (folder / "done" / "label" / "mid-0.50-cond-k4.json").write_text("{")
    ready(source)
    assert TestClient(application(source), base_url="http://localhost").get("/image/0").status_code == 200
