import json
import re
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from study.config import PATH_FIELDS, StudyConfig, load_config
from study.errors import StudyError
from study.opening import recorded_study
from study.settings_file import refuse_impossible
from study.status import status
from tests.parts import open_study
from tests.paths import ROOT

CONFIGS = ("mini", "tiny", "sd14")


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configurations_are_valid(name):
    assert load_config(ROOT / "configs" / f"{name}.yaml").name == name


def test_sd14_is_the_papers_setting():
    config = load_config(ROOT / "configs" / "sd14.yaml")
    assert config.sites.blocks["down"] == "down_blocks.2.attentions.1"
    assert len(config.sites_list()) == 18 and config.sae.k == (10, 20)
    assert list(config.prompts.splits.values()) == [200_000, 40_000, 5_000, 1_000]
    assert (config.sampling.steps, config.sampling.guidance_scale) == (50, 7.5)
    assert config.interventions.objects[:3] == ("bee", "book", "dog") and len(config.interventions.objects) == 10
    assert config.interventions.prompts_of("global") == 1000 and config.interventions.carriers == "all"
    assert (config.sae.warmup_fraction, config.sae.decay_fraction) == (0, 0)
    assert (config.sae.aux_alpha, config.sae.aux_k, config.sae.batch_size, config.sae.lr) == (1 / 32, 256, 4096, 1e-4)


def test_paths_are_relative_to_the_file_and_overrides_are_yaml():
    config = load_config(ROOT / "configs" / "tiny.yaml", ["sae.k=[3, 5]", "seed=7"])
    assert config.model.path == str(ROOT / "miniature" / "weights" / "sd-mini")
    assert config.sae.k == (3, 5) and config.seed == 7


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sae.batchsize=3", "unknown key 'sae.batchsize'; did you mean 'batch_size'"),
        ("saes.k=[3]", "did you mean 'sae'"),
        ("seed=many", "'seed' is 'many'"),
        ("sites.times=[1.0, 0.9, 0.0]", "sites.times 1.0 and 0.9 are the same step of sampling.steps 4"),
        ("sites.times=[1.5]", r"sites.times must lie in \[0, 1\]"),
        ("prompts.splits={train: 4}", "prompts.splits lacks"),
        ("interventions.block=top", "interventions.block is 'top'"),
        ("interventions.global_block=top", "interventions.global_block is 'top', which sites.blocks does not name"),
        ("interventions.spatial_block=top", "interventions.spatial_block is 'top'"),
        ("sites.conditionings=[uncond]", "must include 'cond'"),
        ("interventions.windows={early: [0.6, 1.0, 0.7]}", "uses the SAE of t=0.7"),
        ("sae.k=[4, 4]", "sae.k must be distinct"),
        ("interventions.transfer_from=0.5", "interventions.transfer_from is 0.5, but sites.times are"),
        ("interventions.style_cids={night: [3]}", "are CIDs of one time: say in interventions.transfer_from which"),
        ("interventions.global_scaling=norm", "interventions.global_scaling' is 'norm'"),
        ("interventions.carriers=some", "interventions.carriers' is 'some'"),
        ("labels.examples_by=sum", "labels.examples_by' is 'sum'"),
        ("interventions.judge_floor=1.5", "interventions.judge_floor' is 1.5"),
        ("interventions.lpips=resnet", "interventions.lpips' is 'resnet'"),
        ("interventions.global_prompts=0", "interventions.global_prompts' is 0"),
        ("novalue", "is not of the form"),
    ],
)
def test_mistakes_are_one_sentence_naming_the_key(override, says):
    with pytest.raises(StudyError, match=says) as error:
        load_config(ROOT / "configs" / "tiny.yaml", [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("cids", "says"),
    [
        ("{dusk: [3]}", "names 'dusk', which is not in interventions.styles"),
        ("{night: []}", r"interventions.style_cids.night must be distinct CIDs from 0, got \[\]"),
        ("{night: [3, 3]}", r"must be distinct CIDs from 0, got \[3, 3\]"),
        ("{night: [-1]}", r"must be distinct CIDs from 0, got \[-1\]"),
    ],
)
def test_concepts_picked_by_hand_are_some_of_a_style(cids, says):
    given = ["interventions.transfer_from=0.0", f"interventions.style_cids={cids}"]
    with pytest.raises(StudyError, match=says):
        load_config(ROOT / "configs" / "tiny.yaml", given)


def test_missing_and_malformed_files(tmp_path):
    with pytest.raises(StudyError, match="no configuration file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "a.yaml").write_text("a: [1")
    with pytest.raises(StudyError, match="not valid YAML"):
        load_config(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").write_text("- 1")
    with pytest.raises(StudyError, match="must hold a mapping"):
        load_config(tmp_path / "b.yaml")
    with pytest.raises(StudyError, match=r"cannot be read .Is a directory."):
        load_config(tmp_path)
    (tmp_path / "c.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(StudyError, match="not valid YAML"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(("label", "fits"), [("a/b", False), ("../../x", False), ("traffic light", True)])
def test_a_word_of_the_vocabulary_that_is_no_files_name_is_no_target(label, fits):
    given = ["vision.backend=transformers", "vision.transformers={tagger: fixed}", "interventions.styles=[]"]
    given += [f"vision.vocabulary=[{label}]", f"interventions.objects=[{label}]"]
    if fits:
        assert load_config(ROOT / "configs" / "tiny.yaml", given).interventions.objects == (label,)
        return
    with pytest.raises(StudyError, match=f"interventions.objects: '{label}' cannot be a name"):
        load_config(ROOT / "configs" / "tiny.yaml", given)


def test_targets_and_windows_that_make_one_name_are_refused():
    windows = "interventions.windows={c: [0.6, 1.0, 1.0], b-c: [0.0, 0.2, 0.0]}"
    given = ["vision.backend=transformers", "vision.transformers={tagger: fixed}", "interventions.styles=[]"]
    given += ["vision.vocabulary=[a, a-b]", "interventions.objects=[a, a-b]", windows]
    with pytest.raises(StudyError, match="'a' in window 'b-c' and 'a-b' in 'c' would be written to one file"):
        load_config(ROOT / "configs" / "tiny.yaml", given)


def _texts(model, prefix=""):
    """Dotted name -> description of every setting that is a text."""
    found = {}
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        groups = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if groups:
            found |= _texts(groups[0], f"{prefix}{name}.")
        elif str in kinds:
            found[prefix + name] = field.description
    return found


def test_every_setting_that_says_it_names_files_is_among_those_whose_files_are_identified():
    said = {name for name, text in _texts(StudyConfig).items() if re.search(r"\b(folder|file|hub id)\b", text, re.I)}
    assert said - {"model.revision"} == set(PATH_FIELDS)  # which is of a hub id, and none


@pytest.mark.parametrize("iou", [0.25, 0.75])
def test_the_papers_bar_is_no_setting_of_a_run_but_a_folder_that_has_another_can_be_read(iou, tmp_path):
    tiny = ROOT / "configs" / "tiny.yaml"
    with pytest.raises(StudyError, match=r"'labels.hit_iou' is 0\.\d+, but the bar .* is 0.5.* labels.assign_iou"):
        load_config(tiny, [f"labels.hit_iou={iou}"])
    settings = load_config(tiny, ["labels.hit_iou=0.5"]).model_dump(mode="json")
    settings["labels"]["hit_iou"] = iou
    open_study(tmp_path, settings, {})
    assert recorded_study(tmp_path).config.labels.hit_iou == iou
    assert status(tmp_path)["done"]["label"] == 0


SECRETS = [
    ("run.dask_address", "tcp://me:hunter2@cluster:8786"),
    ("model.path", "https://hunter2@example.org/sd"),
    ("model.revision", "hf_hunter2hunter2hunter2"),
    ("sites.blocks", {"https://me:hunter2@example.org": "mid_block.attentions.0"}),
    ("vision.plugin", {"service": {"api_key": "hunter2"}}),
]


@pytest.mark.parametrize(("key", "value"), SECRETS, ids=[key for key, _ in SECRETS])
def test_a_password_is_no_setting_in_the_file_or_beside_it(tmp_path, key, value):
    """``study.yaml`` would keep it. What it says is shown by no message either."""
    settings = yaml.safe_load((ROOT / "configs" / "tiny.yaml").read_text())
    group, leaf = key.split(".")
    settings.setdefault(group, {})[leaf] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(settings))
    for path, overrides in ((file, ()), (ROOT / "configs" / "tiny.yaml", [f"{key}={json.dumps(value)}"])):
        with pytest.raises(StudyError, match=r"study\.yaml, logs and Prefect's UI would show") as told:
            load_config(path, overrides)
        assert key in str(told.value) and "hunter2" not in str(told.value)


def test_what_only_resembles_a_secret_is_a_setting():
    plugin = {"max_token": "hf_short", "secret": 3, "tokens": "all"}
    fine = {"name": "me@example.org", "model": {"path": "someone/hf_model"}, "vision": {"plugin": plugin}}
    refuse_impossible(fine, "mine.yaml")
    plugin["secret"] = "3"
    with pytest.raises(StudyError, match=r"'vision\.plugin\.secret' has the name of a secret"):
        refuse_impossible(fine, "mine.yaml")
