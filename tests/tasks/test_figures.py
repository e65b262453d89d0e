"""Figures are drawn each on its own: what has nothing to show is left out, what fails stops no other."""

import errno
import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from figures import draw as drawings
from figures import pictures
from storage.errors import AtlasError, StorageError
from storage.records import read_record
from study.config import load_config
from study.errors import StudyError
from study.pictures import put_picture
from study.study import Study
from study.verify import verify
from tasks import draw
from tasks.draw import FIGURES, NothingToShow
from tasks.figures import draw_all, refuse_failed
from tests.parts import open_study
from tests.paths import ROOT


@pytest.fixture
def study(tmp_path):
    open_study(tmp_path, {"name": "x"}, {})
    return Study(str(tmp_path), load_config(ROOT / "configs" / "tiny.yaml", []), "hash")


def picture(study, at):
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(b"picture")


def nothing(study, at):
    raise NothingToShow("no edit was made")


def broken(study, at):
    picture(study, at)
    raise KeyError("tree")


def test_one_bad_figure_stops_no_other_and_is_named(study, monkeypatch):
    kinds = {"a": broken, "b": picture, "c": nothing, "d": broken, "e": picture}
    monkeypatch.setattr("tasks.figures.FIGURES", kinds)
    drawn = draw_all(study)
    assert [path.name for path in drawn.files] == ["b.png", "e.png"]
    assert drawn.left_out == {"c": "no edit was made"} and list(drawn.failed) == ["a", "d"]
    with pytest.raises(StudyError, match=r"2 of 5 figures could not be drawn: a.png \(KeyError: 'tree'\); d.png"):
        refuse_failed(drawn)
    assert sorted(path.name for path in (Path(study.root) / "figures").iterdir()) == ["b.png", "e.png"]


def test_a_figure_has_a_record_that_verify_holds_it_to(study, monkeypatch):
    monkeypatch.setattr("tasks.figures.FIGURES", {"b": picture})
    (path,) = draw_all(study).files
    digest = hashlib.sha256(b"picture").hexdigest()
    assert read_record(study.root, "figures", "b")["files"] == {"figures/b.png": digest}
    assert verify(study.root) == []
    path.write_bytes(b"Picture")
    assert any("figures/b.png" in problem for problem in verify(study.root))
    draw_all(study)
    assert verify(study.root) == []


def test_the_figure_of_before_stays_when_the_new_one_cannot_be_drawn(study, monkeypatch):
    monkeypatch.setattr("tasks.figures.FIGURES", {"b": picture})
    draw_all(study)
    for failing in (broken, nothing):
        monkeypatch.setattr("tasks.figures.FIGURES", {"b": failing})
        draw_all(study)
        assert (Path(study.root) / "figures" / "b.png").read_bytes() == b"picture" and verify(study.root) == []


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "disk full while writing"), (errno.EROFS, "cannot write")])
def test_a_disk_that_takes_nothing_is_a_sentence(study, number, says):
    def full(at):
        raise OSError(number, os.strerror(number), str(at))

    with pytest.raises(StorageError, match=f"{says}.*b.png"):
        put_picture(study.root, "figures", Path(study.root) / "figures" / "b.png", "hash", full)


def test_a_file_where_the_folder_should_be_is_a_sentence(study):
    (Path(study.root) / "figures").write_bytes(b"")
    failed = draw_all(study).failed
    assert all(isinstance(error, (StorageError, StudyError)) for error in failed.values())


def test_a_study_without_results_has_figures_with_nothing_to_show_and_says_why(study):
    """Every figure of a study that is planned only: none ends the command."""
    drawn = draw_all(study)
    assert drawn.files == [] and {*drawn.left_out, *drawn.failed} == set(FIGURES)
    shown = {"explained_variance", "learning_curves", "concept_cards", "layout_scores", "interventions"}
    assert shown | {"intervention_effects"} <= set(drawn.left_out)
    assert all(isinstance(error, AtlasError) for error in drawn.failed.values()), drawn.failed


def point(seed, step, explained, stability=None, block="mid", conditioning="cond"):
    known = {"block": block, "t": 0.0, "conditioning": conditioning, "seed": seed, "step": step, "stability": stability}
    return {**known, "explained_variance": explained, "dead_fraction": 0.5, "init_cosine": 0.25}


def test_the_curves_of_a_figure_are_means_over_conditionings_and_stability_is_the_other_seeds():
    rows = [
        *(point(0, step, v, conditioning=c) for step, v, c in ((0, 0.1, "cond"), (8, 0.9, "cond"), (8, 0.5, "uncond"))),
        *(point(1, 8, 0.3, stability=s, conditioning=c) for s, c in ((0.25, "cond"), (0.75, "uncond"))),
        point(0, 16, 0.6, block="up"),
    ]
    found = {(row["block"], row["share"]): row for row in draw.mean_curves(rows, seed=0)}
    assert set(found) == {("mid", 0.0), ("mid", 1.0), ("up", 1.0)}
    assert found["mid", 1.0] == {
        "block": "mid", "t": 0.0, "share": 1.0, "explained_variance": 0.7, "dead_fraction": 0.5, "init_cosine": 0.25,
        "stability": 0.5,
    }  # fmt: skip
    assert found["mid", 0.0]["explained_variance"] == 0.1 and found["mid", 0.0]["stability"] is None


def test_no_windows_are_no_interventions(study, tmp_path):
    edits = study.config.interventions.model_copy(update={"windows": {}})
    bare = Study(study.root, study.config.model_copy(update={"interventions": edits}), "hash")
    with pytest.raises(NothingToShow):
        draw._interventions(bare, tmp_path / "a.png")


IMAGE = np.zeros((8, 8, 3), np.uint8)
ODD = {
    "no labels": lambda p: pictures.images_and_masks([{"image": IMAGE, "caption": "", "masks": {}}], p),
    "a caption that is no formula": lambda p: pictures.images_and_masks(
        [{"image": IMAGE, "caption": r"costs $5 or $\frac{1}$ \x1b 木", "masks": {"$\\x$": IMAGE[..., 0] > 0}}], p
    ),
    "more values of k than colours": lambda p: drawings.explained_variance(
        [
            {"conditioning": "cond", "block": "mid", "k": k, "kind": "trained", "t": 0.0, "explained_variance": v}
            for k, v in zip(range(9), [0.5, float("nan"), -3.0, float("-inf"), *[0.1] * 5], strict=True)
        ],
        p,
    ),
    "no line at all": lambda p: drawings.explained_variance(
        [{"conditioning": "cond", "block": "mid", "k": 1, "kind": "other", "t": 0.0, "explained_variance": 0.5}], p
    ),
    "a method that one block lacks, an interval off by a rounding": lambda p: drawings.layout_scores(
        [
            {"conditioning": "cond", "block": b, "method": m, "t": 0.0, "iou": 0.5, "iou_ci_low": c, "iou_ci_high": 0.5}
            for b, m, c in (("mid", "concepts", 0.5 + 1e-15), ("up", "evidence", 0.6))
        ],
        p,
    ),
    "effects of no known kind": lambda p: drawings.intervention_effects(
        [{"kind": "spatial", "window": "early", "control": "none", "success": 0.5, "success_ci_low": 0.51,
          "success_ci_high": 0.4}], ["early"], p
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_data_makes_a_picture(name, tmp_path):
    assert ODD[name](tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_concept_that_is_best_for_two_labels_has_the_maps_of_each_image_once(study, monkeypatch):
    """Two shards of two images: named twice, a concept had each shard twice, and pictures of others beside it."""
    values = np.arange(2 * 2 * 4 * 2, dtype=np.float32).reshape(2, 2, 4, 2) + 1  # [shards, images, cells, k]
    latents = np.broadcast_to(np.array([3, 7]), values.shape)
    here = SimpleNamespace(
        grid=(2, 2),
        sae=lambda kind: None,
        codes=lambda sae, split: (([0, 1], *shard) for shard in zip(values, latents, strict=True)),
    )
    monkeypatch.setattr(Study, "at", lambda self, site, k: here)
    maps = draw.shared_maps(study, "mid", 2, [7, 3, 7])
    assert list(maps) == [7, 3]
    for cid, column in ((3, 0), (7, 1)):
        for t in study.config.sites.times:
            assert np.array_equal(maps[cid][t], values[..., column].reshape(4, 2, 2))
