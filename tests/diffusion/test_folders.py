"""Model folders: sampled as diffusers' own pipeline would, and refused in one sentence if anything in them is amiss."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from diffusion.device import resolve_device, usable_devices
from diffusion.errors import DiffusionError, NotFiniteError
from diffusion.model import block_shapes, check_model, load_model
from diffusion.sampling import initial_noise, sample
from diffusion.schedule import load_schedule
from diffusion.settings import ModelSettings, SamplingSettings
from tests.models import miniature_without_manifest
from tests.paths import SD_MINI

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # the pipeline's, at each outdated config

FEW = SamplingSettings(steps=3, guidance_scale=3.0)
CAPTIONS = ["a red car on the grass", "a boat over the water at night"]
SEEDS = [1, 2]
BLOCKS = {"mid": "mid_block.attentions.0"}
WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
BARE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SOUND = {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False}


@pytest.fixture
def folder(tmp_path):
    return miniature_without_manifest(tmp_path / "model")


def settings(folder):
    return ModelSettings(path=str(folder), device="cpu")


def edit_json(path, **values):
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def edit_weights(folder, part, change):
    path = folder / part / WEIGHTS[part]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def pipeline_images(pipeline, latents):
    pipeline.set_progress_bar_config(disable=True)
    found = pipeline(
        CAPTIONS, num_inference_steps=FEW.steps, guidance_scale=FEW.guidance_scale, latents=latents, output_type="np"
    )
    return found.images * 255


@pytest.fixture(scope="module")
def miniature():
    """The miniature as we load it and as diffusers does: schedulers are tried on both without reading weights again."""
    pipeline = StableDiffusionPipeline.from_pretrained(SD_MINI, safety_checker=None).to(torch.float32)
    return load_model(settings(SD_MINI)), pipeline.components


def difference(miniature, folder, config):
    """Largest difference in grey levels of our images from those of a pipeline built with the folder's scheduler."""
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    model = replace(miniature[0], scheduler=load_schedule(str(folder)))
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    theirs = StableDiffusionPipeline(**miniature[1] | {"scheduler": scheduler}, requires_safety_checker=False)
    images = pipeline_images(theirs, initial_noise(model, SEEDS, FEW))
    return np.abs(images - sample(model, CAPTIONS, SEEDS, FEW).images).max()


DDIM = [
    {},
    {"clip_sample": True},
    {"clip_sample": None},
    {"thresholding": True, "clip_sample": True},
    {"steps_offset": 0, "clip_sample": False},
    {"steps_offset": 3, "clip_sample": False},
    {"set_alpha_to_one": True, "steps_offset": 1},
    {**SOUND, "timestep_spacing": "trailing"},
    {**SOUND, "timestep_spacing": "linspace"},
    {**SOUND, "prediction_type": "v_prediction"},
    {**SOUND, "prediction_type": "sample"},
    {**SOUND, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    {**SOUND, "beta_schedule": "squaredcos_cap_v2"},
    {**SOUND, "trained_betas": [0.001 + 0.00001 * i for i in range(1000)]},
]


@pytest.mark.parametrize("given", DDIM, ids=lambda given: " ".join(f"{k}={v}"[:28] for k, v in given.items()) or "bare")
def test_a_schedule_gives_the_images_of_the_folders_own_pipeline(miniature, tmp_path, given):
    assert difference(miniature, tmp_path, {"_class_name": "DDIMScheduler", **BARE, **given}) <= 1.01


OTHERS = ("PNDMScheduler", "EulerDiscreteScheduler", "DDPMScheduler", "DPMSolverMultistepScheduler")


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("given", [{}, {**SOUND, "thresholding": True}], ids=["bare", "thresholding"])
def test_a_folder_of_another_scheduler_gives_the_images_of_the_pipeline_built_with_ddim(
    miniature, tmp_path, name, given
):
    """Built with it, so that the pipeline's corrections meet the scheduler that samples."""
    assert difference(miniature, tmp_path, {"_class_name": name, **BARE, **given}) <= 1.01


def test_a_whole_folder_gives_the_images_of_its_own_pipeline(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDIMScheduler", **BARE}))
    model = load_model(settings(folder))
    theirs = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None).to(torch.float32)
    images = pipeline_images(theirs, initial_noise(model, SEEDS, FEW))
    assert np.abs(images - sample(model, CAPTIONS, SEEDS, FEW).images).max() <= 1.01


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("vae", {"scaling_factor": 0.5}),
        ("vae", {"shift_factor": 0.2, "latents_mean": [0.1] * 4, "latents_std": [2.0] * 4, "force_upcast": False}),
        ("unet", {"sample_size": [16, 24]}),
        ("text_encoder", {"use_attention_mask": True}),
        ("tokenizer", {"model_max_length": 20}),
    ],
)
def test_configs_mean_what_they_mean_to_the_pipeline(folder, part, values):
    edit_json(folder / part / ("tokenizer_config.json" if part == "tokenizer" else "config.json"), **values)
    model = load_model(settings(folder))
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None).to(torch.float32)
    theirs = pipeline_images(pipeline, initial_noise(model, SEEDS, FEW))
    ours = sample(model, CAPTIONS, SEEDS, FEW).images
    assert theirs.shape == ours.shape and np.abs(theirs - ours).max() <= 1.01


def test_the_size_of_the_first_releases_is_corrected_as_by_the_pipeline(folder):
    edit_json(folder / "unet" / "config.json", _diffusers_version="0.2.2")
    with pytest.warns(FutureWarning, match="sample_size"):
        pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    assert load_model(settings(folder)).latent_shape(FEW)[1:] == (pipeline.unet.config.sample_size,) * 2 == (64, 64)


def older_names(tensors):
    """The VAE's attention as the first releases of diffusers named it."""
    for name in list(tensors):
        new = name.replace("to_q.", "query.").replace("to_k.", "key.").replace("to_v.", "value.")
        tensors[new.replace("to_out.0.", "proj_attn.")] = tensors.pop(name)


def prefixed(tensors):
    """The text encoder as the hub's Stable Diffusion folders hold it."""
    for name in list(tensors):
        tensors[f"text_model.{name}"] = tensors.pop(name)
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]


@pytest.mark.parametrize(("part", "rename"), [("vae", older_names), ("text_encoder", prefixed)])
def test_names_of_older_releases_are_read(folder, part, rename):
    edit_weights(folder, part, rename)
    model, known = load_model(settings(folder)), load_model(settings(SD_MINI))
    for name, tensor in getattr(known, part).state_dict().items():
        assert torch.equal(tensor, getattr(model, part).state_dict()[name])


def test_shards_and_other_floats_are_read(folder):
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False)
    (folder / "vae" / WEIGHTS["vae"]).unlink()
    vae.save_pretrained(folder / "vae", max_shard_size="600KB")
    edit_weights(folder, "unet", lambda t: t.update({k: v.double() for k, v in t.items()}))
    model = load_model(settings(folder))
    assert model.unet.dtype == torch.float32
    assert torch.equal(vae.quant_conv.weight.float(), model.vae.quant_conv.weight)
    shard = sorted((folder / "vae").glob("*-00002-of-*"))[0]
    tensors = load_file(shard)
    gone = sorted(tensors)[0]
    save_file({name: value for name, value in tensors.items() if name != gone}, shard, metadata={"format": "pt"})
    with pytest.raises(DiffusionError, match=f"index.json and its . files do not agree where {gone} is"):
        load_model(settings(folder))
    shard.unlink()
    with pytest.raises(DiffusionError, match=f"index.json in .*/vae names .* files, of which {shard.name} is missing"):
        load_model(settings(folder))


@pytest.mark.parametrize("part", WEIGHTS)
def test_tensors_that_are_missing_left_over_of_another_shape_or_not_finite_are_named(folder, part):
    name = sorted(load_file(folder / part / WEIGHTS[part]))[3]
    whole = (folder / part / WEIGHTS[part]).read_bytes()
    tried = {
        rf"weights of {part} in .* lack .*{name}": lambda t: t.pop(name),
        rf"weights of {part} in .* hold extra.weight": lambda t: t.update({"extra.weight": torch.zeros(3)}),
        rf"do not fit {part}/config.json: {name} is \[7, 7\]": lambda t: t.update({name: torch.zeros(7, 7)}),
        rf"weights of {part} in .* not finite in {name}": lambda t: t[name].view(-1)[-1:].fill_(float("nan")),
        rf"hold values that are not finite in {name}": lambda t: t[name].view(-1)[:1].fill_(float("-inf")),
        rf"{WEIGHTS[part]}: {name} is stored as I8": lambda t: t.update({name: t[name].to(torch.int8)}),
    }
    for says, change in tried.items():
        edit_weights(folder, part, change)
        with pytest.raises(DiffusionError, match=says):
            load_model(settings(folder))
        (folder / part / WEIGHTS[part]).write_bytes(whole)


def renamed(suffix):
    def change(folder):
        path = folder / "unet" / WEIGHTS["unet"]
        path.rename(path.with_name(path.name.replace(".safetensors", suffix)))

    return change


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def removed(name):
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def edited(name, **values):
    return lambda folder: edit_json(folder / name, **values)


def other_words(folder):
    *words, begin, end = json.loads((folder / "tokenizer" / "vocab.json").read_text())
    tokens = [*words, *(f"other{i}</w>" for i in range(40)), begin, end]
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "tokenizer" / "tokenizer.json").unlink()


ZERO_SNR = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
CONFIG, SCHEDULE = "tokenizer/tokenizer_config.json", "scheduler/scheduler_config.json"
SPOILT = {
    "only fp16": (renamed(".fp16.safetensors"), "there is .*model.fp16.safetensors: copy .* to diffusion_pytorch_mode"),
    "only bin": (renamed(".bin"), "there is diffusion_pytorch_model.bin, and only safetensors are read"),
    "no weights": (removed(f"unet/{WEIGHTS['unet']}"), "no other weight file"),
    "LFS pointer": (written(f"vae/{WEIGHTS['vae']}", b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
    "cut short": (written(f"vae/{WEIGHTS['vae']}", b"\x10" + bytes(7) + b"{"), "is not a whole safetensors file"),
    "empty file": (written(f"text_encoder/{WEIGHTS['text_encoder']}", b""), "is not a whole safetensors file"),
    "no unet": (removed("unet"), "unet/config.json is missing"),
    "no config": (removed("text_encoder/config.json"), "text_encoder/config.json is missing"),
    "broken config": (written("vae/config.json", b"{"), "vae/config.json is damaged"),
    "config in UTF-16": (written("vae/config.json", "{}".encode("utf-16")), "vae/config.json is damaged"),
    "list as config": (written("unet/config.json", b"[]"), "unet/config.json is damaged"),
    "other config": (written("unet/config.json", b"{}"), "unet"),
    "no scheduler": (removed("scheduler"), "scheduler_config.json is missing"),
    "no tokenizer": (removed("tokenizer"), "tokenizer_config.json is missing"),
    "no vocabulary": (lambda f: [removed(f"tokenizer/{n}")(f) for n in ("vocab.json", "tokenizer.json")], "neither"),
    "no length": (edited(CONFIG, model_max_length=...), "no model_max_length.*add"),
    "odd length": (edited(CONFIG, model_max_length="x"), "damaged .its model_max_length is 'x'"),
    "too long": (edited(CONFIG, model_max_length=512), "model_max_length is 512, but the text encoder has 77 places"),
    "other words": (other_words, "the tokenizer has 718 tokens and text_encoder/config.json a vocab_size of 678"),
    "inpainting": (edited("unet/config.json", in_channels=9), "unet's in_channels is 9 and the vae's latent_channels"),
    "SDXL": (edited("unet/config.json", addition_embed_type="text_time"), "sets addition_embed_type"),
    "LCM": (edited("unet/config.json", time_cond_proj_dim=256), "sets time_cond_proj_dim"),
    "wide": (edited("unet/config.json", cross_attention_dim=768), "cross_attention_dim is 768 and .* hidden_size 128"),
    "tiny VAE": (edited("vae/config.json", _class_name="AutoencoderTiny"), "vae/config.json is a AutoencoderTiny"),
    "odd size": (edited("unet/config.json", sample_size=15), r"own height \(unet's sample_size\) is 60, but .* to 64"),
    "no size": (edited("unet/config.json", sample_size=[16]), r"damaged \(its sample_size is \[16\]\)"),
    "T5": (edited("text_encoder/config.json", model_type="t5"), "text_encoder/config.json is a 't5' model"),
    "zero SNR": (edited(SCHEDULE, **ZERO_SNR), "no signal at all .*set rescale_betas_zero_snr to false"),
    "prediction": (edited(SCHEDULE, prediction_type="flow"), "prediction_type is 'flow'"),
    "spacing": (edited(SCHEDULE, timestep_spacing="karras"), "scheduler_config.json cannot be sampled"),
    "betas": (edited(SCHEDULE, beta_schedule="exp"), "cannot be loaded .*exp"),
    "few timesteps": (edited(SCHEDULE, num_train_timesteps=2), "sampling.steps is 3, but the model has 2 training"),
    "bad betas": (edited(SCHEDULE, trained_betas=[float("nan")] * 1000), "shares of signal outside"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_folder_is_refused_in_one_sentence_before_its_weights_are_read(folder, name):
    spoil, says = SPOILT[name]
    spoil(folder)
    if name != "other config":  # of the right class and form: that it is another's shows in the weights
        with pytest.raises(DiffusionError, match=says):
            check_model(settings(folder), FEW, BLOCKS)
    with pytest.raises(DiffusionError, match=says):
        sample(load_model(settings(folder)), CAPTIONS, SEEDS, FEW)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "is no model"),
        ("https://huggingface.co/CompVis/stable-diffusion-v1-4", "is no model"),
        (str(SD_MINI / "unet" / WEIGHTS["unet"]), "is a single file"),
        ("/nowhere/at/all", "is not a folder"),
        ("nobody/has-this-model", "cannot be loaded"),
    ],
)
def test_paths_that_are_no_folder(path, says):
    for run in (lambda: load_model(settings(path)), lambda: check_model(settings(path), FEW, BLOCKS)):
        with pytest.raises(DiffusionError, match=says):
            run()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"steps": 1000}, "steps 1000 .* are not 1000 of the model's 1000 training timesteps"),
        ({"height": 12}, "height is 12, but this model's images are multiples of 8 pixels: set sampling.height to 16"),
        ({"width": 68}, "sampling.width is 68"),
        ({"width": 0}, "sampling.width is 0"),
        ({"height": -8}, "sampling.height is -8"),
    ],
)
def test_settings_that_the_model_cannot_honour(given, says):
    with pytest.raises(DiffusionError, match=says):
        check_model(settings(SD_MINI), SamplingSettings(**given), BLOCKS)


def test_a_model_is_outlined_without_its_weights():
    known = check_model(settings(SD_MINI), FEW, BLOCKS)
    assert known == (64, 64, 32, {"mid": (8, 8, 128)})
    assert known.shapes == block_shapes(load_model(settings(SD_MINI)), BLOCKS, FEW)
    assert check_model(settings(SD_MINI), FEW.model_copy(update={"width": 96}), BLOCKS)[:2] == (64, 96)
    with pytest.raises(DiffusionError, match="no block 'middle'"):
        check_model(settings(SD_MINI), FEW, {"mid": "middle"})


def test_float32_is_float32_on_a_gpu_too(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    resolve_device("auto")
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("name", ["cuda", "cuda:7", "mps", "meta", "xpu", "gpu", "", "cpu:x"])
def test_devices_that_are_not_there_are_refused(name):
    if (name == "cuda" and torch.cuda.is_available()) or (name == "mps" and torch.backends.mps.is_available()):
        pytest.skip("this machine has it")
    with pytest.raises(DiffusionError, match=f"model.device '{name}' cannot be used .*'cpu'"):
        resolve_device(name)


def test_devices_that_are_there():
    for name in usable_devices():
        resolve_device(name.strip("'"))


def test_an_image_that_is_not_finite_is_no_image(folder):
    model = load_model(settings(folder))
    with torch.no_grad():
        model.vae.decoder.conv_out.bias[1] = float("inf")
    with pytest.raises(NotFiniteError, match="the image of caption 0 in the batch is not finite") as caught:
        sample(model, CAPTIONS, SEEDS, FEW)
    assert caught.value.row == 0
