"""What a study reads from outside and cannot use: exit code 2, one sentence, and nothing written."""

import json
import shutil
from types import SimpleNamespace
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from concepts.cases import Case
from diffusion.digest import former_digests
from diffusion.errors import DiffusionError, NotFiniteError
from flows.cli import main
from storage.errors import StorageError
from storage.records import forget_record, read_record, records
from storage.tables import read_table
from study.config import load_config
from study.errors import StudyError
from study.models import borrowed_model
from study.opening import may_write, open_or_create
from tasks import collect, editor
from tests.models import miniature_without_manifest
from tests.paths import ROOT

TINY = ROOT / "configs" / "tiny.yaml"


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs the whole study with settings and gives the one line that it says."""

    def run(*settings):
        root = tmp_path / "study"
        code = main(["run", str(TINY), "--root", str(root), *(part for s in settings for part in ("--set", s))])
        said = capsys.readouterr()
        assert code == 2 and said.out == "" and not root.exists()
        assert said.err.startswith("concepts: ") and said.err.count("\n") == 1 and len(said.err) < 700, said.err
        return said.err

    return run


@pytest.fixture
def model(tmp_path):
    return miniature_without_manifest(tmp_path / "model")


WRONG = {
    "model.device=cuda:7": "model.device 'cuda:7' cannot be used on this machine",
    "model.device=meta": "model.device 'meta' cannot be used on this machine",
    "model.path=/nowhere": "model.path /nowhere is not a folder",
    "model.path=nobody/no-such-model": "cannot be loaded",
    "sampling.steps=1000": "are not 1000 of the model's 1000 training timesteps",
    "sampling.height=12": "images are multiples of 8 pixels: set sampling.height to 16",
    "sampling.height=96": "'mini' reads images of 64 x 64 pixels, but the model makes 64 x 96",
    "sites.blocks.mid=mid_block": "sites.blocks.mid: the model has no block 'mid_block'; it has",
    "sae.k=[200]": "has only 128 latents",
    "prompts.source=/nowhere/a.parquet": "no Parquet file called /nowhere/a.parquet",
    "prompts.source=s3://bucket/a.parquet": "is a URL",
    "prompts.caption_column=wording": "has no column 'wording'",
    "prompts.caption_column=punsafe": "the column 'punsafe' holds",
    "prompts.max_tokens=50": "prompts.max_tokens is 50, but the model reads only 32 tokens",
    "prompts.splits.train=10000000": "rows, but prompts.splits ask for 10000040 captions",
    "vision.mini.second_path=/nowhere": "/nowhere/config.json is missing",
}


@pytest.mark.parametrize("setting", WRONG)
def test_what_a_setting_names_is_looked_at_before_anything_is_written(refused, setting):
    assert WRONG[setting] in refused(setting)


def test_a_spoilt_model_is_told_before_anything_is_written(refused, model):
    (model / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "no other weight file" in refused(f"model.path={model}")


def test_what_only_the_weights_can_tell_names_module_and_tensor(tmp_path, model):
    path = model / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["post_quant_conv.bias"][0] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    study = open_or_create(tmp_path / "study", load_config(TINY, [f"model.path={model}"]))
    with pytest.raises(DiffusionError, match=r"weights of vae in .* not finite in post_quant_conv.bias"):
        collect.plan(study)


def test_a_study_that_is_there_does_not_read_its_captions_again(tmp_path):
    source = tmp_path / "captions.parquet"
    shutil.copy(ROOT / "miniature" / "captions.parquet", source)
    config = load_config(TINY, [f"prompts.source={source}"])
    open_or_create(tmp_path / "study", config)
    source.unlink()
    assert may_write(tmp_path / "study", config)


@pytest.mark.parametrize(
    ("given", "outdated"), [({}, False), ({"steps_offset": 0}, True), ({"clip_sample": ...}, True)]
)
def test_a_study_of_the_first_format_does_not_go_on_with_another_sampler(tmp_path, model, given, outdated):
    path = model / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text()) | given
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    settings = load_config(TINY, [f"model.path={model}"])
    open_or_create(tmp_path / "study", settings)
    assert may_write(tmp_path / "study", settings)  # made by this version, it samples as it did
    study = tmp_path / "study" / "study.yaml"
    known = yaml.safe_load(study.read_text())
    first = {key: known[key] for key in ("config_hash", "config", "versions", "git_sha")}
    first["model_revision"] = sorted(former_digests(str(model)))[0]
    study.write_text(yaml.safe_dump(first, sort_keys=False))
    if not outdated:
        assert may_write(tmp_path / "study", settings)
        return
    with pytest.raises(StorageError, match=r"clip_sample or steps_offset .*choose another --root to sample the model"):
        may_write(tmp_path / "study", settings)


NO_NUMBER = [
    ("vae.decoder.conv_out", 2, r"prompt 16 \('.*'\): the image of caption 0 in the batch is not finite"),
    ("unet.conv_out", 1, r"prompt 8 \('.*'\): the final latent of caption 0 in the batch is not finite"),
    ("unet.mid_block.attentions.0.proj_out", 1, r"prompt 8 \('.*'\): the residual update .* of caption 0 in the batch"),
]


@pytest.mark.parametrize(("layer", "shard", "says"), NO_NUMBER)
def test_a_sample_that_is_no_number_names_its_prompt(tmp_path, layer, shard, says):
    """Shard 1 is of the train split, whose images are not decoded but for the study's first; shard 2 is not."""
    once = ["sites.times=[1.0]", "interventions.windows={early: [0.6, 1.0, 1.0]}"]
    study = open_or_create(tmp_path / "study", load_config(TINY, once))
    collect.plan(study)
    part, _, path = layer.partition(".")
    with borrowed_model(study) as loaded, torch.no_grad():
        bias = getattr(loaded, part).get_submodule(path).bias
        healthy = bias.clone()
        bias.fill_(float("nan"))
    try:
        with pytest.raises(StudyError, match=says):
            collect.collect_shard(study, shard)
    finally:
        with torch.no_grad():
            bias.copy_(healthy)
    assert not records(study.root, "collect") and read_table(study.root, "images").num_rows == 0


def test_captions_dropped_for_their_length_are_told(tmp_path):
    captions = [f"a house number {i} of a street" for i in range(60)]
    captions.insert(3, "tree and house and " * 8 + "end")
    source = tmp_path / "captions.parquet"
    pq.write_table(pa.table({"top_caption": captions, "punsafe": [0.0] * 61}), source)
    study = open_or_create(tmp_path / "study", load_config(TINY, [f"prompts.source={source}"]))
    assert collect.plan(study) == {"prompts": 56}
    with mock.patch.object(collect, "collect_artifacts"):
        assert collect.end(study) == {"prompts": "56 (dropped: 1 of more than 32 tokens)"}


def test_a_lost_plan_is_made_again_from_the_same_captions_only(tmp_path):
    """Shards stay, and other prompts beside them would give each image another caption."""
    captions, source = [f"a house number {i} of a street" for i in range(60)], tmp_path / "captions.parquet"

    def put(given):
        pq.write_table(pa.table({"top_caption": given, "punsafe": [0.0] * 60}), source)

    put(captions)
    once = ["sites.times=[1.0]", "interventions.windows={early: [0.6, 1.0, 1.0]}", f"prompts.source={source}"]
    study = open_or_create(tmp_path / "study", load_config(TINY, once))
    collect.plan(study)
    planned = read_table(study.root, "prompts")
    collect.collect_shard(study, 0)
    forget_record(study.root, "plan", "prompts")
    put(captions[::-1])
    with pytest.raises(StudyError, match=r"shard 0+ was sampled from other prompts .*: put back the captions"):
        collect.plan(study)
    assert read_record(study.root, "plan", "prompts") is None and list(records(study.root, "collect"))
    put(captions)
    collect.plan(study)
    assert read_table(study.root, "prompts").equals(planned)


def test_an_edit_that_is_no_number_names_its_prompt_and_unit(monkeypatch):
    def overflow(*_, **__):
        raise NotFiniteError("the image is not finite", 1)

    made = editor.Editor.__new__(editor.Editor)  # what it is made of needs a trained study, and this does not
    made.study, made.recipe = SimpleNamespace(config=load_config(TINY)), SimpleNamespace(name="spatial/early/tree")
    made.beginnings = None
    monkeypatch.setattr(editor.Editor, "interventions", lambda *_: [])
    monkeypatch.setattr(editor, "sample", overflow)
    with pytest.raises(StudyError, match="prompt 8, edit spatial/early/tree: the image is not finite"):
        made._sample(None, [Case(prompt_id, "a tree", 1, "") for prompt_id in (7, 8)], [], None)
