"""Settings that contradict each other: each pair is told in one sentence, and what only resembles it is not."""

import re

import pytest

from study.config import load_config
from study.contradictions import PAIRS, refuse_contradicting_run, refuse_contradictions
from study.errors import StudyError
from tests.paths import ROOT

TINY, SD14 = (ROOT / "configs" / f"{name}.yaml" for name in ("tiny", "sd14"))
WORDS = "vision.vocabulary=[tree, night]"
REAL = ["vision.backend=transformers", "vision.mini=null", WORDS]  # tiny.yaml with the transformers backend
JUDGED = "vision.transformers={judge_clip: x/clip, judge_clipseg: x/clipseg, %s}"

# The settings that contradict each other, what is said of them, and settings close by that do not.
CASES = {
    ("vision.backend", "vision.mini"): (
        ["vision.backend=transformers", JUDGED % "tagger: fixed", WORDS],
        "vision.mini is given, but vision.backend is 'transformers'",
        [*REAL, JUDGED % "tagger: fixed"],
    ),
    ("vision.backend", "vision.transformers"): (
        ["vision.transformers={tagger: fixed}"],
        "vision.transformers is given, but vision.backend is 'mini'",
        [],
    ),
    ("vision.backend", "vision.vocabulary"): (
        [WORDS],
        "vision.vocabulary is given, but vision.backend is 'mini'",
        ["vision.vocabulary=[]"],
    ),
    ("vision.transformers.tagger", "vision.transformers.clip"): (
        [*REAL, JUDGED % "tagger: zero-shot"],
        "vision.transformers.clip names no model",
        [*REAL, JUDGED % "tagger: zero-shot, clip: x/clip"],
    ),
    ("vision.transformers.clip", "vision.transformers.tagger"): (
        [*REAL, JUDGED % "tagger: caption, clip: x/clip"],
        "only the tagger 'zero-shot' reads it, and the tagger is 'caption'",
        [*REAL, JUDGED % "tagger: caption"],
    ),
    ("interventions.objects", "vision.transformers.judge_clipseg"): (
        [*REAL, "vision.transformers={judge_clip: x/clip}"],
        "interventions.objects are to be judged, but vision.transformers.judge_clipseg names no judge",
        [*REAL, "vision.transformers={judge_clip: x/clip}", "interventions.objects=[]"],
    ),
    ("interventions.styles", "vision.transformers.judge_clip"): (
        [*REAL, "vision.transformers={judge_clipseg: x/clipseg}"],
        "interventions.styles are to be judged, but vision.transformers.judge_clip names no judge",
        [*REAL, "vision.transformers={judge_clipseg: x/clipseg}", "interventions.styles=[]"],
    ),
    ("interventions.objects", "interventions.styles"): (
        ["interventions.objects=[]", "interventions.styles=[]"],
        "are both empty: name at least one target",
        ["interventions.objects=[]"],
    ),
    ("interventions.objects", "interventions.spatial_block"): (
        ["interventions.objects=[tree]", "interventions.block=traced"],
        "interventions.objects names 'tree' alone, but which block its edits are made at is left to a trace",
        ["interventions.objects=[tree]", "interventions.block=traced", "interventions.spatial_block=mid"],
    ),
    ("interventions.similarity", "vision.backend"): (
        ["interventions.similarity=true"],
        "vision.backend is 'mini', whose judge knows its own looks alone",
        [*REAL, JUDGED % "tagger: fixed", "interventions.similarity=true"],
    ),
    ("labels.word2vec_path", "labels.embedder"): (
        ["labels.word2vec_path=words.txt"],
        "labels.embedder is 'text_encoder', which reads no such file",
        ["labels.word2vec_path=words.txt", "labels.embedder=word2vec"],
    ),
    ("labels.keep_iou", "labels.assign_iou"): (
        ["labels.keep_iou=0.3", "labels.assign_iou=0.25"],
        "labels.keep_iou is 0.3, above labels.assign_iou 0.25",
        ["labels.keep_iou=0.25", "labels.assign_iou=0.25"],
    ),
    ("sae.refresh", "prompts.split_by"): (
        ["sae.refresh=retrain"],
        "with prompts.split_by 'order' a study is of its first captions for good",
        [
            "sae.refresh=retrain",
            "prompts.split_by=caption",
            "prompts.splits={train: 0.4, dictionary: 0.3, layout: 0.15, style: 0.15}",
        ],
    ),
    ("labels.assign_images", "prompts.splits"): (
        ["labels.assign_images=9", "prompts.splits.dictionary=16"],
        "has only 8 images: no concept could get a label",
        ["labels.assign_images=9", "prompts.splits.dictionary=17"],
    ),
    ("layout.min_images", "prompts.splits"): (
        ["layout.min_images=13"],  # the layout split has 12, the dictionary split 16
        "layout.min_images is 13, but prompts.splits.layout has only 12 images",
        ["layout.min_images=12"],
    ),
    ("layout.min_images", "layout.fit_images"): (
        ["layout.min_images=4", "layout.fit_images=3"],
        "layout.fit_images takes at most 3 of a label",
        ["layout.min_images=4", "layout.fit_images=4"],
    ),
    ("run.dask_address", "run.task_runner"): (
        ["run.dask_address='tcp://127.0.0.1:8786'"],
        "run.task_runner is 'thread', which uses no cluster",
        ["run.dask_address='tcp://127.0.0.1:8786'", "run.task_runner=dask"],
    ),
    ("run.dask_resources", "run.dask_address"): (
        ["run.dask_resources={GPU: 1}", "run.task_runner=dask"],
        "run.dask_resources is given, but run.dask_address names no running cluster",
        ["run.dask_resources={GPU: 1}", "run.dask_address='tcp://127.0.0.1:8786'", "run.task_runner=dask"],
    ),
    ("run.devices", "model.device"): (
        ["run.devices=[cuda:0, cuda:1]", "model.device=cuda:0"],
        "[cuda:0, cuda:1], but model.device is 'cuda:0', which has every unit elsewhere: set it to 'auto'",
        ["run.devices=[cuda:0, cuda:0]", "model.device=cuda:0"],
    ),
    ("run.devices", "vision.transformers.device"): (
        [*REAL, "run.devices=[cuda:0, cuda:1]", JUDGED % "tagger: fixed"],
        "but vision.transformers.device is 'cpu', which has every unit elsewhere: set it to 'cuda'",
        [*REAL, "run.devices=[cuda:0, cuda:1]", JUDGED % "tagger: fixed, device: cuda"],
    ),
    ("run.devices", "run.max_workers"): (
        ["run.devices=[cpu, cpu]", "run.max_workers=3"],
        "run.max_workers is 3, but run.devices names 2, and as many units run at once",
        ["run.devices=[cpu, cpu]", "run.max_workers=1"],
    ),
    ("run.devices", "run.dask_address"): (
        ["run.devices=[cpu, cpu]", "run.dask_address='tcp://127.0.0.1:8786'", "run.task_runner=dask"],
        "the workers of run.dask_address have their own: start each with CUDA_VISIBLE_DEVICES",
        ["run.devices=[cpu, cpu]", "run.task_runner=dask"],
    ),
}


@pytest.mark.parametrize("pair", CASES, ids=" ".join)
def test_the_pair_is_told_and_its_neighbours_are_not(pair):
    wrong, says, right = CASES[pair]
    with pytest.raises(StudyError) as refused:
        refuse_contradictions(load_config(TINY, wrong))
    assert says in str(refused.value) and "\n" not in str(refused.value)
    assert pair[0].rsplit(".", 1)[-1] in str(refused.value)
    refuse_contradictions(load_config(TINY, right))


def test_of_a_study_that_is_there_what_says_how_it_is_run_is_held_against_itself_alone():
    refuse_contradicting_run(load_config(TINY, ["labels.keep_iou=0.3", "labels.assign_iou=0.25"]))
    for pair, (wrong, says, _) in CASES.items():
        if pair[0].startswith("run."):
            with pytest.raises(StudyError, match=re.escape(says)):
                refuse_contradicting_run(load_config(TINY, wrong))


def test_every_pair_has_a_case_and_a_line_on_the_page():
    page = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")
    assert {(pair.one, pair.other) for pair in PAIRS} == set(CASES)
    for pair in PAIRS:
        assert f"| `{pair.one}` | `{pair.other}` |" in page


@pytest.mark.parametrize("split", ["dictionary", "layout"])
def test_either_split_can_be_too_small_for_layouts(split):
    with pytest.raises(StudyError, match=f"prompts.splits.{split} has only 7"):
        refuse_contradictions(load_config(TINY, ["layout.min_images=8", f"prompts.splits.{split}=7"]))


def test_a_plug_in_may_read_the_groups_of_the_other_backends():
    refuse_contradictions(load_config(TINY, ["vision.backend=mine", "vision.transformers={tagger: fixed}", WORDS]))


@pytest.mark.parametrize("path", [TINY, ROOT / "configs" / "mini.yaml", SD14])
def test_what_is_shipped_is_consistent(path):
    refuse_contradictions(load_config(path))
