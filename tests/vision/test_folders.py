"""Folders of vision models: what in them is amiss is one sentence, by name."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.paths import SCENE_VISION
from vision.backend import check_backend, load_backend
from vision.clip import Regions
from vision.errors import VisionError
from vision.loading import resolve_device
from vision.mini_network import SceneNetwork
from vision.settings import VisionSettings

WEIGHTS = "model.safetensors"


@pytest.fixture
def clipseg(paths, tmp_path):
    """A CLIPSeg folder to spoil."""
    shutil.copytree(paths["clipseg"], tmp_path / "clipseg")
    return tmp_path / "clipseg"


@pytest.fixture
def scene(tmp_path):
    """The scene world's network in a folder to spoil."""
    shutil.copytree(SCENE_VISION, tmp_path / "scene")
    return tmp_path / "scene"


def edit(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def last(folder):
    return sorted(load_file(folder / WEIGHTS))[-1]


TENSORS = {
    "missing": (lambda t, name: t.pop(name), "the weights lack {name}, which config.json asks for"),
    "left over": (lambda t, name: t.update({"extra.weight": torch.zeros(2)}), "the weights hold extra.weight, which"),
    "shape": (lambda t, name: t.update({name: torch.zeros(3, 5, 7)}), "{name} in the weights have another shape"),
    "NaN": (lambda t, name: t[name].fill_(float("nan")), "values that are not finite in {name}"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_a_transformers_model_that_are_not_its_configs(group, clipseg, name):
    change, says = TENSORS[name]
    spoilt = last(clipseg)
    edit(clipseg, lambda tensors: change(tensors, spoilt))
    with pytest.raises(VisionError, match=f"judge_clipseg '{clipseg}': .*{says.format(name=spoilt)}"):
        Regions(group(judge_clipseg=str(clipseg)), "judge_clipseg")


def test_a_buffer_of_an_earlier_release_is_no_fault(group, clipseg):
    edit(clipseg, lambda t: t.update({"clip.text_model.embeddings.position_ids": torch.arange(77)[None]}))
    Regions(group(judge_clipseg=str(clipseg)), "judge_clipseg")


FILES = {
    "fp16": (lambda f: (f / WEIGHTS).rename(f / "model.fp16.safetensors"), "copy model.fp16.safetensors to model.safe"),
    "bin": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "weights there: pytorch_model.bin.*only safetens"),
    "none": (lambda f: (f / WEIGHTS).unlink(), "weights there: none"),
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "no folder": (lambda f: shutil.rmtree(f), "there is no such folder"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "cannot be loaded"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "cannot be loaded"),
    "another class": (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "is a model of type 'bert'"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_a_transformers_model_are_looked_at_beforehand(settings, clipseg, name):
    spoil, says = FILES[name]
    given = settings(second_opinion=str(clipseg))
    check_backend(given, 512, 512)
    spoil(clipseg)
    for look in (lambda: check_backend(given, 512, 512), lambda: load_backend(given)):
        with pytest.raises(VisionError, match=f"second_opinion '{clipseg}' .*{says}"):
            look()


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
def test_a_processor_that_is_missing_is_named(group, clipseg, name):
    if not (clipseg / name).exists():
        pytest.skip("this release of transformers saves it under another name")
    (clipseg / name).unlink()
    with pytest.raises(VisionError, match=f"judge_clipseg '{clipseg}' cannot be loaded"):
        Regions(group(judge_clipseg=str(clipseg)), "judge_clipseg")


def test_float32_is_float32_on_a_gpu_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    resolve_device("cpu")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("name", ["auto", "cuda:7", "mps", "meta", "gpu"])
def test_devices_that_are_not_there(settings, name):
    for look in (
        lambda: resolve_device(name),
        lambda: check_backend(settings(device=name), 512, 512),
        lambda: load_backend(settings(device=name)),
    ):
        with pytest.raises(VisionError, match=f"vision.transformers.device '{name}' cannot be used on this machine"):
            look()


@pytest.mark.parametrize(
    ("name", "says"),
    {
        "missing": r"Missing key\(s\).*{name}",
        "left over": r"Unexpected key\(s\).*extra.weight",
        "shape": "size mismatch for {name}",
        "NaN": "not finite in {name}",
    }.items(),
)
def test_tensors_of_a_scene_network_that_are_not_its_configs(scene, name, says):
    spoilt = last(scene)
    edit(scene, lambda tensors: TENSORS[name][0](tensors, spoilt))
    with pytest.raises(VisionError, match=f"{scene / WEIGHTS}.*{says.format(name=spoilt)}.*rebuild it with"):
        SceneNetwork.load(scene)


@pytest.mark.parametrize("given", [{"width": 0}, {"width": "wide"}, {"width": None}, {"body": "resnet"}, {"body": 3}])
def test_a_config_that_describes_no_network(scene, given):
    path = scene / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | given))
    with pytest.raises(VisionError, match=r"config.json is damaged|does not fit its config.json"):
        SceneNetwork.load(scene)


def test_the_scene_backend_reads_its_own_size_only(scene):
    given = VisionSettings(backend="mini", mini={"path": str(scene)})
    check_backend(given, 64, 64)
    with pytest.raises(VisionError, match="'mini' reads images of 64 x 64 pixels, but the model makes 96 x 64"):
        check_backend(given, 64, 96)
    (scene / WEIGHTS).unlink()
    with pytest.raises(VisionError, match=r"model.safetensors is missing"):
        check_backend(given, 64, 64)


def test_a_plug_in_that_nothing_offers_is_told_beforehand(settings):
    with pytest.raises(VisionError, match=r"vision.backend names 'mine', which nothing installed offers"):
        check_backend(VisionSettings(backend="mine"), 64, 64)
    with pytest.raises(VisionError, match="tagger names 'mine'"):
        check_backend(settings(tagger="plugin:mine"), 64, 64)
