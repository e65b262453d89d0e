"""Training resumes to the same bits, rebuilds to the same bytes, refuses other settings; judging, checked on truth."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
import yaml

from diffusion.errors import DiffusionError
from diffusion.manifest import check_manifest
from miniature import curves, precision, train
from miniature.checkpoint import load_checkpoint
from miniature.fidelity import contact_sheet, follow, position_entropy, second_opinion
from miniature.judges import Verdict, drawn_classes
from miniature.settings import DEFAULT_FILE, OBJECTS, default_world
from miniature.tokenizer import write_tokenizer
from miniature.train_diffusion import DiffusionRun, DiffusionSettings, loss_weight, train_diffusion
from miniature.train_vae import Leg, VaeRun, VaeSettings, new_vae, train_vae
from miniature.train_vision import COLOUR_NAMES, VisionRun, VisionSettings, targets, train_vision
from miniature.world import LABELS, make_scene
from vision.mini_network import SceneNetwork


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def diffusion_run(folder, batch=2):
    latents = np.random.default_rng(0).normal(size=(20, 2, 4, 16, 16)).astype(np.float16)
    settings = DiffusionSettings(scenes=20, batch=batch, width=16, warmup=2)
    return DiffusionRun(settings, latents, ["a tree", "a red car"] * 10, write_tokenizer(folder / "tokenizer"))


def vae_run(_folder, batch=2):
    return VaeRun(VaeSettings(legs=(Leg(2, batch, 2e-3, False), Leg(2, 2, 1e-3, True))), default_world())


def vision_run(_folder, batch=2):
    torch.manual_seed(0)
    return VisionRun(VisionSettings(width=8, batch=batch, pool=6), new_vae().eval(), default_world())


RUNS = {
    "diffusion": (diffusion_run, lambda run, folder: train_diffusion(run, folder, 4), lambda run: run.train_step(4)),
    "vae": (vae_run, train_vae, lambda run: run.train_step()),
    "vision": (vision_run, lambda run, folder: train_vision(run, folder, 4), lambda run: run.train_step(4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_equals_an_undisturbed_one_and_other_settings_are_refused(name, tmp_path):
    new, finish, step = RUNS[name]
    finish(new(tmp_path), tmp_path / "whole")
    first = new(tmp_path)
    for _ in range(2):
        step(first)
    first.save(tmp_path / "cut")
    finish(new(tmp_path), tmp_path / "cut")
    whole, cut = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "cut")
    assert whole[0].keys() == cut[0].keys() and whole[1]["step"] == cut[1]["step"] == 4
    assert all(torch.equal(whole[0][key], cut[0][key]) for key in whole[0])
    with pytest.raises(ValueError, match=r"holds a run with other settings .*: choose another --work folder"):
        new(tmp_path, batch=4).resume(tmp_path / "whole")


def hashes(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*") if f.is_file()
    }


@pytest.mark.slow(35)
@pytest.mark.timeout(1800)  # two trainings, which an old processor takes many times as long for
def test_a_short_rebuild_gives_the_same_bytes_and_its_damage_is_named(tmp_path, capsys):
    for name in "ab":
        assert (
            train.main(["--short", "--work", str(tmp_path / name / "work"), "--out", str(tmp_path / name / "out")]) == 0
        )
    a, b = (hashes(tmp_path / name / "out") for name in "ab")
    assert a == b and {f.split("/")[0] for f in a} == {"sd-mini", "scene-vision", "second-judge"}
    assert SceneNetwork.load(tmp_path / "a" / "out" / "second-judge").body_name == "dilated"
    folder = tmp_path / "a" / "out" / "sd-mini"
    check_manifest(folder)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(
        DiffusionError, match=r"unet/.*is cut short or changed: rebuild it with `python -m miniature.train"
    ):
        check_manifest(folder)
    (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"format_version": 1', '"format_version": 9')
    )
    with pytest.raises(DiffusionError, match="format_version is 9, this code reads 1"):
        check_manifest(folder)
    capsys.readouterr()
    other = tmp_path / "other.yaml"
    other.write_text(yaml.safe_dump({**yaml.safe_load(DEFAULT_FILE.read_text()), "styled": 0.1}))
    given = ["vae", "--short", "--work", str(tmp_path / "b" / "work"), "--world", str(other)]
    assert train.main(given) == 2
    assert "holds a run with other settings {'world'" in capsys.readouterr().err


def test_what_cannot_be_trained_is_one_sentence(tmp_path, capsys):
    assert train.main(["diffusion", "--work", str(tmp_path)]) == 2
    assert "run `python -m miniature.train vae" in capsys.readouterr().err
    assert train.main(["vae", "--work", str(tmp_path), "--world", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read as a world file" in capsys.readouterr().err


@pytest.mark.parametrize("supported", [True, False])
def test_products_are_in_bfloat16_where_the_processor_has_it_and_not_where_that_is_switched_off(monkeypatch, supported):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: supported)
    for enabled in (True, False):
        with precision.in_bfloat16(enabled):
            made = torch.ones(2, 2) @ torch.ones(2, 2)
        assert made.dtype == (torch.bfloat16 if supported and enabled else torch.float32)


def test_the_loss_weight_is_capped_on_both_sides():
    snr = torch.tensor([1e-3, 1.0, 24.0, 100.0])
    weight = loss_weight(snr / (1 + snr))
    assert torch.allclose(weight, torch.tensor([1e-3**-0.5, 1.0, 24.0**-0.5, 0.05]), rtol=1e-3)


@pytest.fixture(scope="module")
def drawn():
    """Forty scenes and the verdict of a judge that is always right about them."""
    scenes = [make_scene(seed) for seed in range(40)]
    colours = targets(scenes)[2].numpy().astype(np.uint8)
    return scenes, Verdict(drawn_classes(scenes), colours, [scene.look for scene in scenes])


def test_a_perfect_judge_of_the_drawing_itself_finds_all_that_was_asked(drawn):
    scenes, verdict = drawn
    found = follow(scenes, verdict)
    hidden = sum(item.visible_px < 16 for scene in scenes for item in scene.objects)
    assert found["fidelity"]["value"] >= 1 - (hidden + 1e-9) / found["fidelity"]["n"] - 1e-4
    assert found["colour_binding"]["value"] == 1.0 and found["fidelity_of_looks"]["value"] == 1.0
    assert found["unasked_objects"]["value"] == 0.0 and found["unasked_objects"]["high"] > 0
    assert position_entropy(scenes, verdict) == 1.0
    assert second_opinion([verdict, verdict])["judges_iou_on_generated"] == 1.0


def test_faults_are_counted(drawn):
    scenes, verdict = drawn
    sky, tree = LABELS.index("sky"), LABELS.index("tree")
    without = np.where(verdict.classes < len(OBJECTS), sky, verdict.classes).astype(np.uint8)
    assert follow(scenes, dataclasses.replace(verdict, classes=without))["fidelity_of_objects"]["value"] == 0.0
    everywhere = verdict.classes.copy()
    everywhere[:, :8, :8] = tree
    unasked = follow(scenes, dataclasses.replace(verdict, classes=everywhere))["unasked_objects"]
    without_tree = sum("tree" not in {o.name for o in s.objects} for s in scenes)
    assert unasked["value"] == pytest.approx(without_tree / unasked["n"], abs=0.02)
    turned = ((verdict.colours % (len(COLOUR_NAMES) - 1)) + 1).astype(np.uint8)
    assert follow(scenes, dataclasses.replace(verdict, colours=turned))["colour_binding"]["value"] == 0.0
    corner = verdict.classes.copy()
    corner[corner < len(OBJECTS)] = sky
    for row, scene in enumerate(scenes):
        corner[row, :6, :6] = LABELS.index(scene.objects[0].name)
    assert position_entropy(scenes, dataclasses.replace(verdict, classes=corner)) < 0.1


def test_the_contact_sheet_holds_every_image():
    images = np.broadcast_to(np.array([9, 200, 30], np.uint8), (10, 64, 64, 3)).copy()
    sheet = np.asarray(contact_sheet(["a caption of some length that has to be broken"] * 10, images))
    assert (sheet == [9, 200, 30]).all(-1).sum() == 10 * 128 * 128


def test_a_log_that_was_resumed_counts_each_step_once(tmp_path):
    log = tmp_path / "vae" / "log.jsonl"
    log.parent.mkdir()
    log.write_text(
        "".join(f'{{"step": {step}, "l1": {l1}}}\n' for step, l1 in ((20, 0.5), (40, 0.4), (20, 0.3), (60, 0.2)))
    )
    curves.main(["--work", str(tmp_path), "--logs", str(tmp_path / "logs"), "--out", str(tmp_path / "curves.png")])
    kept = [json.loads(line) for line in (tmp_path / "logs" / "vae.jsonl").read_text().splitlines()]
    assert [(row["step"], row["l1"]) for row in kept] == [(20, 0.3), (40, 0.4), (60, 0.2)]
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
