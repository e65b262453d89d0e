"""Edits beyond one concept in one window: schedules, quantiles, many controls, and plans of several parts."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import concept_atlas
from concepts.effects import success_in_region
from diffusion.sampling import sample
from flows.commands import parser
from flows.editing import requested
from study import models
from study.errors import StudyError
from study.models import borrowed_model
from study.opening import study_with_models
from tasks.edit_plan import plan_edit
from tasks.edit_request import request_of
from tasks.one_edit import make_edit
from tasks.site_change import changes_of, edits_of

pytestmark = pytest.mark.system
PLACED = {"prompt": "a tree in the grass", "concept": "tree", "region": "left", "window": "early", "strength": 4.0}


@pytest.fixture(scope="module")
def study(tiny_study):
    return study_with_models(tiny_study)


@pytest.fixture(scope="module")
def placed(study):
    return make_edit(study, request_of(**PLACED))


def test_clamp_turns_each_concept_to_a_quantile_of_its_own_activations(study):
    clamped = {**PLACED, "operation": "clamp", "strength": 1.0}
    here = study.at(("mid", 1.0, "cond"), 4)
    codes = list(here.codes(here.sae(), "dictionary"))
    values = np.concatenate([code.values.ravel() for code in codes])
    latents = np.concatenate([code.latents.ravel() for code in codes])
    made = {q: make_edit(study, request_of(**clamped, quantile=q)) for q in (None, 1.0, 0.5)}
    (cids,) = made[None].row["cids"]
    known = [values[(latents == cid) & (values > 0)] for cid in cids]
    for quantile in (1.0, 0.5):
        (levels,) = made[quantile].row["levels"]
        assert levels == pytest.approx([np.quantile(own, quantile) for own in known], rel=1e-6)
        assert made[quantile].row["quantile"] == quantile
    assert made[1.0].row["levels"][0] == pytest.approx(made[None].row["levels"][0], rel=1e-5)  # the tables' act_max
    assert made[0.5].row["levels"][0][0] < made[1.0].row["levels"][0][0]
    assert not np.array_equal(made[0.5].images["after"], made[1.0].images["after"])


def test_many_controls_are_scored_and_change_nothing_else(study, placed):
    many = make_edit(study, request_of(**PLACED, controls=11))  # in batches of 8: 8 and 2 beside the first
    assert all(np.array_equal(many.images[name], image) for name, image in placed.images.items())
    told = (
        "edit",
        "controls",
        "score_control_mean",
        "score_control_low",
        "score_control_high",
        "above_controls",
        "placed_controls",
    )
    assert {k: v for k, v in many.row.items() if k not in told} == {
        k: v for k, v in placed.row.items() if k not in told
    }
    assert (placed.row["controls"], placed.row["score_control_low"]) == (1, None)
    assert placed.row["score_control_mean"] == placed.row["score_control"]
    plan = plan_edit(study, request_of(**PLACED, controls=11))
    changes, alone = changes_of(plan), []
    with borrowed_model(study) as model:
        for draw in range(11):
            edits = edits_of(study, changes, [draw])
            prompt, seed = [PLACED["prompt"]], [study.config.seed]
            alone.append(sample(model, prompt, seed, study.config.sampling, edits=edits).images[0])
    maps = models.backend_of(study).judge.object_map(alone, "tree")
    scores = np.array([heat[:, :32].max() for heat in maps], float)
    assert np.ptp(scores) > 1e-6 and len({image.tobytes() for image in alone}) == 11
    assert many.row["score_control_mean"] == pytest.approx(scores.mean(), abs=1e-3)
    ends = np.quantile(scores, [0.025, 0.975])
    assert [many.row["score_control_low"], many.row["score_control_high"]] == pytest.approx(ends, abs=1e-3)
    there = [success_in_region(heat, np.arange(64) < np.full((64, 1), 32)) for heat in maps]
    assert many.row["placed_controls"] == pytest.approx(np.mean(there), abs=0.1)
    assert placed.row["placed_controls"] == float(placed.row["placed_control"])
    assert many.row["above_controls"] == pytest.approx((many.row["score_after"] > scores).mean())


PLAN = """
prompt: a tree in the grass
seed: 5
controls: 3
parts:
  - {concept: tree, region: left, window: early, strength: 4}
  - concept: night
    window: final
    block: up
    strength: 6
    schedule: "0.2:1,0:0.5"
"""


def test_a_plan_of_several_parts_is_an_edit_from_a_file_or_in_python(launch, study, tiny_study, tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    options = ["--plan", str(tmp_path / "plan.yaml"), "--out", str(tmp_path / "out")]
    done = launch("edit", str(tiny_study), *options)
    assert done.returncode == 0 and not done.stderr, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == "place tree, strength 4, window early, region left"
    assert said[2] == "add night, strength 6 by schedule 0.2:1,0:0.5, window final, everywhere"
    assert said[5].startswith("3 controls: mean ")
    (row,) = pq.read_table(said[-1]).to_pylist()
    (second,) = row["more_parts"]
    assert (second["concept"], second["sites"], second["t"]) == ("night", ["up/0.00/cond"], 0.0)
    assert (row["seed"], row["controls"], row["judged"], row["change_outside"]) == (5, 3, "tree", None)
    given = yaml.safe_load(PLAN)
    made = concept_atlas.open(tiny_study).edit(**given)
    assert made.row == row
    only = {**given, "parts": given["parts"][:1]}
    first = make_edit(study, request_of(**only))
    simple = make_edit(study, request_of(**PLACED, seed=5, controls=3))
    assert first.row == simple.row and first.row["edit"] != row["edit"]
    assert np.array_equal(first.images["before"], np.asarray(made.before))
    assert not np.array_equal(first.images["after"], np.asarray(made.after))
    other = launch("edit", str(tiny_study), *options, "--prompt", "a tree", "--seed", "6", "--controls", "1")
    (row,) = pq.read_table(other.stdout.splitlines()[-1]).to_pylist()
    assert (row["prompt"], row["seed"], row["controls"]) == ("a tree", 6, 1)


def test_what_is_wrong_with_a_plan_is_one_sentence(launch, study, tiny_study, tmp_path):
    path = tmp_path / "plan.yaml"
    wrong = {
        "prompt: [a": f"{path} is not valid YAML",
        "": f"{path} holds no settings: give a YAML file such as plan.yaml",
        "parts: [{concept: tree, window: early, strength: 2}]": f"{path}: 'prompt' is missing: add it",
        PLAN.replace("region: left", "regoin: left"): f"{path}: unknown key 'parts.0.regoin'; did you mean 'region'?",
        PLAN + "window: early": f"{path}: window stands beside parts, which have their own: put it into one of them",
    }
    for text, says in wrong.items():
        path.write_text(text)
        with pytest.raises(StudyError, match=re.escape(says)):
            requested(parser().parse_args(["edit", str(tiny_study), "--plan", str(path)]))
    beside = ["edit", str(tiny_study), "--plan", str(path), "--instead-of", "house"]
    with pytest.raises(StudyError, match=r"--instead-of stands beside --plan, whose parts have their own: put it into"):
        requested(parser().parse_args(beside))
    done = launch("edit", str(tiny_study), "--plan", str(tmp_path / "none.yaml"))
    assert (done.returncode, done.stderr) == (
        2,
        f"concepts: no plan file {tmp_path / 'none.yaml'}: give the path of a YAML file such as plan.yaml\n",
    )
    parts = [
        {k: v for k, v in PLACED.items() if k != "prompt"},
        {"concept": "tree", "operation": "ablate", "window": "0.9-1"},
    ]
    with pytest.raises(StudyError, match=r"parts 1 and 2 contradict each other: 'tree' is put in .* at mid, t = 1,"):
        plan_edit(study, request_of(prompt="a tree", parts=parts))
