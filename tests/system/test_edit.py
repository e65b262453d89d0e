"""``concepts edit``, the flow and the function: three pictures and a row, and a study that stays as it was."""

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import concept_atlas
from concepts.errors import ConceptError
from diffusion.sampling import sample
from sae.source import load_statistics
from storage.declared_beside import EDITS
from storage.errors import StorageError
from storage.study import amend_study, config_hash, read_study
from storage.tables import read_table
from study import models
from study.errors import StudyError
from study.hashes import ADDED
from study.models import borrowed_model
from study.opening import recorded_study, study_with_models
from study.verify import verify
from tasks import edit_files, edit_off, off_distribution, one_edit
from tasks.directions import target_cids
from tasks.edit_files import edit_into, files_of, folder_of, written
from tasks.edit_plan import plan_edit
from tasks.edit_request import request_of
from tasks.edit_words import told
from tasks.one_edit import make_edit
from tests.paths import ROOT
from tests.system import forked

pytestmark = pytest.mark.system
PLACED = {"prompt": "a tree in the grass", "concept": "tree", "region": "left", "window": "early", "strength": 4.0}


@pytest.fixture(scope="module")
def study(tiny_study):
    return study_with_models(tiny_study)


@pytest.fixture(scope="module")
def placed(study):
    return make_edit(study, request_of(**PLACED))


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_command_writes_three_pictures_and_a_row_beside_the_study(launch, copy):
    before = contents(copy)
    options = ["--prompt", "a tree in the grass", "--concept", "tree", "--region", "left", "--window", "early"]
    done = launch("edit", str(copy), *options, "--strength", "4")
    assert done.returncode == 0 and not done.stderr, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "place tree, strength 4, window early, region left"
    pictures, row = [Path(line) for line in said[-4:-1]], pq.read_table(said[-1])
    assert [path.name for path in pictures] == ["before.png", "after.png", "control.png"]
    assert pictures[0].parent.parent == Path(f"{copy}-edits") and row.schema.names == EDITS.schema.names
    images = [np.asarray(Image.open(path)) for path in pictures]
    assert all(image.shape == (64, 64, 3) for image in images)
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[2])
    (facts,) = row.to_pylist()
    assert (facts["prompt"], facts["seed"], facts["t"], facts["judged"]) == ("a tree in the grass", 0, 1.0, "tree")
    for side, inside in (("inside", np.s_[:, :32]), ("outside", np.s_[:, 32:])):
        changed = np.abs(images[1].astype(float) - images[0])[inside].mean() / 255
        assert facts[f"change_{side}"] == pytest.approx(changed, rel=1e-5)
    assert contents(copy) == before and verify(copy) == []
    again = launch("edit", str(copy), *options, "--strength", "4", "--out", f"{copy}-edits")
    assert again.stdout == done.stdout


def test_an_edit_uses_the_studys_own_concepts_and_unit(placed, study):
    here = study.at(("mid", 1.0, "cond"), 4)
    assert placed.row["cids"] == [target_cids(here, "tree")] and placed.row["sites"] == ["mid/1.00/cond"]
    unit = load_statistics(here.folder / "statistics.safetensors").rms_norm
    assert placed.row["unit_norms"] == [unit]
    stored = np.concatenate([maps for _, maps in here.maps("train")]).astype(np.float64)
    assert unit == pytest.approx(np.sqrt((stored**2).sum(-1).mean()), rel=1e-5)


def test_the_image_before_is_what_sampling_makes_and_strength_zero_changes_no_bit(placed, study):
    with borrowed_model(study) as model:
        plain = sample(model, [PLACED["prompt"]], [study.config.seed], study.config.sampling).images[0]
    assert np.array_equal(placed.images["before"], plain)
    for more in ({}, {"operation": "clamp"}, {"region": None}, {"half": "cond", "block": ["mid", "up"]}):
        nothing = make_edit(study, request_of(**{**PLACED, **more, "strength": 0.0}))
        assert all(np.array_equal(image, plain) for image in nothing.images.values())
        assert nothing.row["change_inside"] == nothing.row["control_change_inside"] == 0.0
        assert nothing.row["off_distribution_after"] == nothing.row["off_distribution_control"] == 1.0


def test_another_run_gives_the_same_row_and_pictures(placed, study):
    again = make_edit(study, request_of(**PLACED))
    assert again.row == placed.row
    assert all(np.array_equal(again.images[name], image) for name, image in placed.images.items())


def test_several_blocks_are_edited_each_by_its_own_concepts(study):
    made = make_edit(study, request_of(**{**PLACED, "block": "mid,up", "concept": ["tree", "house"]}))
    assert made.row["sites"] == ["mid/1.00/cond", "up/1.00/cond"]
    for path, cids in zip(made.row["sites"], made.row["cids"], strict=True):
        here = study.at((path.split("/")[0], 1.0, "cond"), 4)
        assert cids == list(dict.fromkeys([*target_cids(here, "tree"), *target_cids(here, "house")]))
    assert made.row["unit_norms"][0] != made.row["unit_norms"][1]


def test_the_judge_says_how_sure_it_is_of_the_label_or_why_it_is_not_asked(placed, study):
    judge = models.backend_of(study).judge
    maps = judge.object_map(list(placed.images.values()), "tree")
    for heat, name in zip(maps, ("before", "after", "control"), strict=True):
        assert placed.row[f"score_{name}"] == pytest.approx(heat[:, :32].max())
        assert placed.row[f"placed_{name}"] in (True, False)
    look = make_edit(study, request_of(prompt="a tree", concept="night", window="early", strength=4, block="up"))
    score = judge.style_score([look.images["after"]], "night")[0]
    assert look.row["score_after"] == pytest.approx(score, rel=1e-4) and look.row["placed_after"] is None
    assert look.row["change_outside"] is None
    silent = make_edit(study, request_of(**PLACED, judge=False))
    assert silent.row["judged"] is None and silent.row["score_after"] is None
    facts = read_table(study.root, "concepts", ["cid", "top_label"], study.at(("mid", 1.0, "cond"), 4).filters)
    unnamed = next(row["cid"] for row in facts.to_pylist() if row["top_label"] is None)
    assert plan_edit(study, request_of(**{**PLACED, "concept": unnamed})).judged is None


def test_a_prompt_that_does_not_name_the_object_is_told_and_edited_all_the_same(study):
    made = make_edit(study, request_of(**{**PLACED, "prompt": "a house"}))
    assert made.row["cautions"] == [
        "the prompt does not name 'tree': an edit moves what the prompt asks for, and seldom puts in what it does not"
    ]
    assert make_edit(study, request_of(**{**PLACED, "prompt": "two Trees"})).row["cautions"] == []
    longer = make_edit(study, request_of(**{**PLACED, "prompt": "a tree " * 60}))
    assert re.search(r"the model reads 32 tokens of the prompt, which has \d+: shorten it", longer.row["cautions"][0])


WRONG = {
    "label": ({"concept": "tre"}, "the study knows no label 'tre': did you mean 'tree'"),
    "number": ({"concept": "cid:9999"}, "mid/1.00/cond has no concept 9999: name one from 0 to 255"),
    "not carried": ({"concept": "boat"}, "no concept of mid/1.00/cond carries 'boat': carried there are "),
    "block": ({"block": "mdi"}, "the study has no block 'mdi': did you mean 'mid'"),
    "half": ({"half": "both"}, "has no SAE at mid/1.00/uncond, whose concepts this edit needs: there is one at mid/1"),
    "window": ({"window": "middle"}, "there is no window 'middle'"),
    "no step": ({"window": "0.4-0.5"}, "holds none of the study's 4 steps"),
    "region": ({"region": "lefft"}, "region 'lefft' is neither a file nor one of everywhere, top"),
    "empty": ({"region": "box:0.5,0,0.5,1"}, "region 'box:0.5,0,0.5,1' is empty"),
    "size": ({"region": "small.png"}, "is 32 x 32 pixels, the study's images are 64 x 64: give a mask of their size"),
    "black": ({"region": "black.png"}, "holds no pixel of a 64 x 64 image"),
    "schedule": ({"schedule": "1:0,0.6:0,0.4:1"}, "schedule '1:0,0.6:0,0.4:1' is 0 at every step of window 'early'"),
    "all shared": (
        {"operation": "replace", "concept": "12", "instead_of": "cid:12"},
        "concept 12 of mid/1.00/cond would be put in and taken away by one edit",
    ),
}


@pytest.mark.parametrize(("given", "says"), WRONG.values(), ids=WRONG)
def test_what_the_study_has_not_is_one_sentence_before_a_model_is_loaded(study, tmp_path, monkeypatch, given, says):
    Image.new("L", (32, 32), 255).save(tmp_path / "small.png")
    Image.new("L", (64, 64), 0).save(tmp_path / "black.png")
    monkeypatch.chdir(tmp_path)
    for loads in ("borrowed_model", "looks_of"):
        monkeypatch.setattr(one_edit, loads, lambda *_: pytest.fail("a model was asked for"))
    with pytest.raises((StudyError, ConceptError), match=re.escape(says)):
        make_edit(study, request_of(**{**PLACED, **given}))


def test_the_command_ends_with_the_sentence_and_code_2(launch, tiny_study, tmp_path):
    options = ["--prompt", "a tree", "--window", "early", "--strength", "nan", "--concept", "tree"]
    done = launch("edit", str(tiny_study), *options)
    assert done.returncode == 2 and done.stderr == "concepts: edit: 'strength' is nan: it should be a finite number\n"
    done = launch("edit", str(tmp_path), *options[:-4], "--strength", "2", "--concept", "tree")
    assert done.returncode == 2 and "is not a study folder" in done.stderr
    done = launch("edit", str(tiny_study), *options[:-4], "--strength", "2", "--concept", "tree", "--set", "seed=3")
    assert done.returncode == 2 and "another configuration (seed: 0 -> 3)" in done.stderr


def test_concepts_of_both_labels_are_left_alone_by_replace(study, monkeypatch):
    from tasks import edit_plan

    carried = {"tree": [3, 5, 7], "house": [5, 9]}
    monkeypatch.setattr(edit_plan, "target_cids", lambda here, label: carried[label])
    asked = {**PLACED, "region": None, "operation": "replace", "instead_of": "house"}
    plan = plan_edit(study, request_of(**asked))
    assert plan.first.sites[0].cids == (3, 7) and plan.first.sites[0].instead == (9,)
    assert any("concept 5 of mid/1.00/cond stands for what is put in" in told for told in plan.cautions)
    carried["house"] = [5]
    with pytest.raises(StudyError, match=r"concept 5 of mid/1\.00/cond would be put in and taken away"):
        plan_edit(study, request_of(**asked))


def test_a_study_moved_without_its_model_says_where_to_name_it(copy):
    config = read_study(copy)["config"]
    here = config["model"]["path"]
    moved = {**config, "model": {**config["model"], "path": "/nowhere/sd-mini"}}
    amend_study(copy, {"config": moved, "config_hash": config_hash(moved, ADDED)})
    with pytest.raises(StudyError, match=r"is not a folder: .*; --set model\.path=FOLDER says where"):
        study_with_models(copy)
    found = study_with_models(copy, [f"model.path={here}"])
    assert found.config.model.path == here and found.config_hash == recorded_study(copy).config_hash
    other = ROOT / "miniature" / "weights" / "scene-vision"
    with pytest.raises((StudyError, StorageError)):
        study_with_models(copy, [f"model.path={here}", f"vision.mini.second_path={other}"])


def test_an_edit_needs_no_activations_unless_a_quantile_of_them_is_asked_for(copy, placed, monkeypatch):
    """What it cannot tell without them it says: how far off they are driven."""
    shutil.rmtree(copy / "activations.zarr")
    off_distribution.distribution_of.forget()
    study = study_with_models(copy)
    row = make_edit(study, request_of(**PLACED)).row
    (caution,) = row["cautions"]
    assert caution.startswith("how far off their usual distribution the activations are driven is not known: there is")
    assert row == {**placed.row, **dict.fromkeys(edit_off.COLUMNS), "cautions": [caution]}
    assert not any(line.startswith("activations off") for line in told(row))
    clamped = {**PLACED, "operation": "clamp", "strength": None}
    assert make_edit(study, request_of(**clamped)).row["levels"][0]
    monkeypatch.setattr(one_edit, "borrowed_model", lambda *_: pytest.fail("a model was asked for"))
    says = r"quantile 0.99 is of the concepts' activations, which .* no longer has: leave quantile out for the largest"
    with pytest.raises(StudyError, match=says):
        make_edit(study, request_of(**clamped, quantile=0.99))


def test_two_edits_at_once_and_one_that_is_there_already(study, tmp_path, monkeypatch):
    out, twice = tmp_path / "edits", [request_of(**PLACED, seed=seed) for seed in (1, 2, 1, 2)]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda request: edit_into(study, request, out), twice))
    rows = pq.read_table(out / "edits").to_pylist()
    assert sorted(row["seed"] for row in rows) == [1, 2] and made[0][0].row == made[2][0].row
    monkeypatch.setattr(edit_files, "edit_as_planned", lambda *_: pytest.fail("it was made again"))
    there, files = edit_into(study, twice[0], out)
    assert there.row == made[0][0].row and all(path.is_file() for path in files)
    assert all(np.array_equal(there.images[name], image) for name, image in made[0][0].images.items())
    files[1].write_bytes(b"no picture")
    assert written(out, there.row["edit"]) is None
    files[1].write_bytes(files[0].read_bytes())
    assert written(out, there.row["edit"]) is None  # a picture, but not the one that was written


def test_an_edit_is_named_by_all_that_it_follows_from(study, tmp_path):
    Image.new("L", (64, 64), 255).save(tmp_path / "a.png")
    Image.new("L", (64, 64), 255).save(tmp_path / "b.png")
    Image.new("L", (64, 64), 128).save(tmp_path / "c.png")
    named = [plan_edit(study, request_of(**{**PLACED, "region": str(tmp_path / f"{x}.png")})).name for x in "abc"]
    assert named[0] == named[1] != named[2]
    spelt = request_of(**{**PLACED, "operation": "place", "seed": study.config.seed})
    assert plan_edit(study, spelt).name == plan_edit(study, request_of(**PLACED)).name
    others = [{"strength": 5.0}, {"prompt": "a tree"}, {"seed": 9}, {"block": "up"}, {"feather": 1.0}]
    others += [{"schedule": "1:0.5"}, {"controls": 2}, {"judge": False}]
    names = {plan_edit(study, request_of(**{**PLACED, **more})).name for more in ({}, *others)}
    assert len(names) == 1 + len(others)


def test_edits_go_beside_a_study_and_never_into_one(tiny_study, tmp_path, monkeypatch):
    assert folder_of(tiny_study, None) == Path(f"{tiny_study}-edits")
    monkeypatch.chdir(tiny_study.parent)
    assert folder_of("tiny", None) == Path("tiny-edits") and folder_of("tiny/", None) == Path("tiny-edits")
    monkeypatch.chdir(tiny_study)
    assert folder_of(".", None) == Path(f"{tiny_study.resolve()}-edits")
    for out in (tiny_study, tiny_study / "figures", tiny_study / "new" / "below"):
        with pytest.raises(StudyError, match=r"belongs to the study .*: name another folder"):
            folder_of(tiny_study, out)
    with pytest.raises(StudyError, match="no folder is named"):
        folder_of(tiny_study, " ")


def test_in_python_an_edit_is_an_object_that_shows_itself(tiny_study, placed, tmp_path):
    before = contents(tiny_study)
    atlas = concept_atlas.open(tiny_study)
    edited = atlas.edit(**PLACED)
    assert edited.row == placed.row and edited.cautions == []
    for name in ("before", "after", "control"):
        assert np.array_equal(np.asarray(getattr(edited, name)), placed.images[name])
    page = edited._repr_html_()
    assert page.count("<img") == 3 and all(f"<br>{name}<" in page for name in ("before", "after", "control"))
    assert "a tree in the grass" in page and "place tree, strength 4" in page
    assert "<script" not in atlas.edit(**{**PLACED, "prompt": "a tree <script>", "judge": False})._repr_html_()
    files = edited.save(tmp_path / "kept")
    assert files == files_of(tmp_path / "kept", edited.row["edit"]) and written(tmp_path / "kept", edited.row["edit"])
    with pytest.raises(concept_atlas.AtlasError, match="belongs to the study"):
        edited.save(tiny_study / "figures")
    with pytest.raises(concept_atlas.AtlasError, match="did you mean 'tree'"):
        atlas.edit("a tree", "treee", "early", 2)
    assert contents(tiny_study) == before


FLOW = """
import json, sys
from flows.edit import edit_flow
print(json.dumps(edit_flow(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])))
"""


def test_the_flow_makes_the_same_edit_and_shows_it(served, forks, tiny_study, placed, tmp_path):
    import httpx

    given = [str(tiny_study), json.dumps(PLACED), str(tmp_path / "out")]
    done = forked.run(forks, ("-c", FLOW, *given), 400, "python")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == placed.row
    assert written(tmp_path / "out", placed.row["edit"]).row == placed.row
    wanted = {"tiny-edit-images", "tiny-edit-row"}  # asked for by name: an answer has two hundred at most
    asked = {"artifacts": {"key": {"any_": sorted(wanted)}}}
    artifacts = httpx.post(f"{served['PREFECT_API_URL']}/artifacts/filter", json=asked).json()
    assert {artifact["key"] for artifact in artifacts} == wanted


def test_the_flows_form_has_help_choices_and_bounds():
    from flows.edit import edit_flow

    schema = edit_flow.to_deployment("edit")._parameter_openapi_schema
    assert schema.required == ["root", "edit"] and list(schema.properties) == ["root", "edit", "out", "overrides"]
    form = schema.definitions["EditRequest"]["properties"]
    assert all(len(field["description"]) > 20 for field in form.values())
    bounds = form["strength"]["anyOf"][0]
    assert (bounds["minimum"], bounds["maximum"]) == (-1000.0, 1000.0)
    assert form["half"]["enum"] == ["cond", "both"] and "place" in form["operation"]["anyOf"][0]["enum"]
    assert next(iter(form)) == "prompt" and schema.definitions["EditRequest"]["required"] == ["prompt"]
    assert (form["controls"]["minimum"], form["controls"]["maximum"], form["controls"]["default"]) == (1, 200, 1)
    assert form["quantile"]["anyOf"][0]["maximum"] == 1 and form["schedule"]["anyOf"][0]["type"] == "string"
    assert form["parts"]["items"]["$ref"].endswith("/EditPart")
    assert set(schema.definitions["EditPart"]["properties"]) == set(form) - {
        "prompt",
        "parts",
        "seed",
        "judge",
        "controls",
    }
    assert all(schema.properties[name]["description"] for name in schema.properties)
