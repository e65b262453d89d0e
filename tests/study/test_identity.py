"""A study is what its files contain, not where they lie: moved, linked and littered folders are the same."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from storage import contents
from storage.contents import contents_digest
from storage.errors import StorageError
from storage.records import write_record
from storage.study import REVISING, read_study
from study.config import load_config
from study.errors import StudyError
from study.identity import CONTENTS, contents_of
from study.opening import may_write, open_existing, open_or_create
from study.revise import plan_revision, revise
from study.stages import STAGES
from tests.paths import ROOT

COPIED = ("weights/sd-mini", "weights/scene-vision", "weights/second-judge", "hierarchy.tsv", "captions.parquet")
OLD = {  # of the first format: what a study.yaml said of the same files
    "model_revision": "sha256:0ff2afeaa756db9c",
    "files": {"labels.hierarchy": "e64d7d1dec28c6d3"},
}


@pytest.fixture
def project(tmp_path):
    """A project with its own configuration, weights and captions."""
    home = tmp_path / "project"
    (home / "configs").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "tiny.yaml", home / "configs")
    for name in COPIED:
        source, target = ROOT / "miniature" / name, home / "miniature" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return home


def config(home: Path, *overrides):
    return load_config(home / "configs" / "tiny.yaml", list(overrides))


def as_of_the_first_format(root: Path) -> None:
    known = read_study(root)
    kept = {key: value for key, value in known.items() if key not in ("format", CONTENTS)}
    (root / "study.yaml").write_text(yaml.safe_dump({**kept, **OLD}, sort_keys=False))


@pytest.fixture(params=["this format", "the first format"])
def study(request, project):
    """(project, root) of a study in the project's own folder."""
    root = project / "runs" / "tiny"
    open_or_create(root, config(project))
    if request.param == "the first format":
        as_of_the_first_format(root)
    return project, root


def test_what_is_not_loaded_is_no_identity(study):
    home, root = study
    before = open_existing(root, config(home)).hash_of("collect")
    sd, vision = home / "miniature/weights/sd-mini", home / "miniature/weights/scene-vision"
    for litter in (".DS_Store", "README.md", "._model_index.json", "unet/._config.json", ".git/HEAD", "unet/notes.txt"):
        (sd / litter).parent.mkdir(exist_ok=True)
        (sd / litter).write_text("litter")
    (sd / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    (sd / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"another kind")
    (vision / ".DS_Store").write_text("litter")
    assert open_or_create(root, config(home)).hash_of("collect") == before


def test_a_project_that_moved_with_its_study_is_the_same(study, tmp_path):
    home, root = study
    stages = ("plan", "collect", "tag", "segment", "label", "intervene")
    before = {stage: open_existing(root, config(home)).hash_of(stage) for stage in stages}
    whole = open_existing(root, config(home)).config_hash
    moved = tmp_path / "elsewhere" / "renamed"
    moved.parent.mkdir()
    shutil.move(home, moved)
    root = moved / "runs" / "tiny"
    assert not plan_revision(root, config(moved)).needed
    again = open_or_create(root, config(moved))
    assert {stage: again.hash_of(stage) for stage in stages} == before and again.config_hash == whole
    assert again.config.model.path == str(moved / "miniature/weights/sd-mini")  # what is loaded lies there now
    differing = plan_revision(root, config(moved, "layout.bootstrap=101"))
    assert list(differing.settings) == ["layout.bootstrap"]
    revise(differing)
    known = read_study(root)
    assert REVISING not in known and known["config"]["model"]["path"] == str(home / "miniature/weights/sd-mini")
    assert open_or_create(root, config(moved, "layout.bootstrap=101")).hash_of("label") == before["label"]


@pytest.mark.parametrize("how", ["link", "slash", "relative", "copy"])
def test_another_way_to_the_same_files_is_the_same(study, tmp_path, monkeypatch, how):
    home, root = study
    weights = home / "miniature" / "weights"
    (tmp_path / "link").symlink_to(weights)
    shutil.copytree(weights, tmp_path / "copy")
    monkeypatch.chdir(weights)
    place = {"link": f"{tmp_path}/link/", "slash": f"{weights}//", "relative": "./", "copy": f"{tmp_path}/copy/"}[how]
    fields = {"model.path": "sd-mini/", "vision.mini.path": "scene-vision", "vision.mini.second_path": "second-judge"}
    given = config(home, *(f"{field}={place}{name}" for field, name in fields.items()))
    assert given.model.path.startswith(place) and may_write(root, given)
    assert open_or_create(root, given).hash_of("segment") == open_or_create(root, config(home)).hash_of("segment")


def test_other_contents_under_the_same_name_are_refused(study):
    home, root = study
    may_write(root, config(home))
    path = home / "miniature/weights/sd-mini/scheduler/scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.5}))
    (home / "miniature/weights/sd-mini/manifest.json").unlink()
    with pytest.raises(StorageError, match=r"model.path\) was changed since .* restore it"):
        may_write(root, config(home))
    with pytest.raises(StorageError, match="was changed since"):
        plan_revision(root, config(home, "layout.bootstrap=101"))


def test_other_vision_weights_under_the_same_name_are_refused(project):
    root = project / "study"
    open_or_create(root, config(project))
    weights = project / "miniature/weights"
    shutil.copy(weights / "second-judge" / "model.safetensors", weights / "scene-vision" / "model.safetensors")
    with pytest.raises(StorageError, match=r"vision.mini.path names was changed .* `concepts revise`"):
        may_write(root, config(project))
    other = f"vision.mini.path={weights / 'second-judge'}"
    with pytest.raises(StorageError, match=r"vision.mini.path: .* -> .*`concepts revise`"):
        may_write(root, config(project, other))


def test_more_captions_than_the_study_was_planned_from_are_no_other_study(project):
    root = project / "study"
    open_or_create(root, config(project))
    shutil.copy(project / "miniature/hierarchy.tsv", project / "miniature/captions.parquet")
    assert may_write(root, config(project))
    (project / "miniature/captions.parquet").unlink()  # once planned, a study needs them no more
    assert may_write(root, config(project))


def test_a_study_of_the_first_format_is_given_its_contents_and_a_look_changes_nothing(project):
    root = project / "study"
    open_or_create(root, config(project))
    made = read_study(root)[CONTENTS]
    as_of_the_first_format(root)
    before = (root / "study.yaml").read_bytes()
    may_write(root, config(project))
    open_existing(root, config(project))
    plan_revision(root, config(project, "layout.bootstrap=101"))
    assert (root / "study.yaml").read_bytes() == before
    open_or_create(root, config(project))
    assert read_study(root)[CONTENTS] == made and read_study(root)["model_revision"] == OLD["model_revision"]


def test_every_setting_that_names_files_has_contents(project):
    expected = {"model.path", "prompts.source", "vision.mini.path", "vision.mini.second_path", "labels.hierarchy"}
    assert set(contents_of(config(project))) == expected
    hub = contents_of(config(project, "model.path=owner/name", "model.revision=abc"))
    assert set(hub) == expected - {"model.path"}  # a hub id is its own identity


def test_large_files_are_hashed_whole_and_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(contents, "KEPT_BYTES", 10)
    hashed = []
    monkeypatch.setattr(contents, "digest_of", lambda path: hashed.append(path) or f"{len(hashed)}")
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(b"x" * 100)
    small.write_bytes(b"x")
    first = contents_digest({"a": large, "b": small})
    assert contents_digest({"a": large, "b": small}) == first and len(hashed) == 2
    monkeypatch.setattr(contents, "_known", {})  # as in another process
    contents_digest({"a": large, "b": small})
    assert hashed == [large, small, small]
    kept = large.stat()
    large.write_bytes(b"x" * 50 + b"y" + b"x" * 49)  # of the same size and, made so, the same age
    os.utime(large, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    contents_digest({"a": large})
    assert hashed[-1] == large


def test_without_a_place_to_keep_digests_nothing_fails(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(contents, "KEPT_BYTES", 1)
    assert contents_digest({"a": tmp_path / "file"}) == contents_digest({"a": tmp_path / "file"})


def test_a_stage_that_was_never_run_takes_its_new_version_silently(project, monkeypatch):
    root = project / "study"
    open_or_create(root, config(project))
    write_record(root, "tag", "000000", {"tables": {}}, "h")
    monkeypatch.setitem(STAGES, "layout", dataclasses.replace(STAGES["layout"], version=7))
    open_or_create(root, config(project))
    assert read_study(root)["stages"]["layout"] == 7
    monkeypatch.setitem(STAGES, "tag", dataclasses.replace(STAGES["tag"], version=7))
    with pytest.raises(StudyError, match="`concepts revise` to redo tag as"):
        open_or_create(root, config(project))
