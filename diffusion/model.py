"""Loading the model under study, and the questions one asks of it without sampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from diffusion import folder
from diffusion.device import resolve_device
from diffusion.errors import DiffusionError
from diffusion.schedule import load_schedule, set_steps
from diffusion.settings import ModelSettings, SamplingSettings
from diffusion.weights import load_part


@dataclass(frozen=True)
class DiffusionModel:
    """The parts of a Stable Diffusion pipeline, on one device and in one dtype, in eval mode."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler
    device: torch.device
    dtype: torch.dtype

    def latent_shape(self, settings: SamplingSettings) -> tuple[int, int, int]:
        """(channels, rows, columns) of the latent for the settings' image size."""
        return folder.latent_shape(self.unet.config, self.vae.config, settings)

    @property
    def context(self) -> int:
        """Tokens that the text encoder reads of a caption, begin and end included."""
        return int(self.tokenizer.model_max_length)


@dataclass(frozen=True)
class TextEncoder:
    """The part of a model that reads words: a twelfth of Stable Diffusion's bytes."""

    text_encoder: CLIPTextModel
    tokenizer: CLIPTokenizer
    device: torch.device


@dataclass(frozen=True)
class Outline:
    """What is known of a model before its weights are read: ``unet`` has shapes but no values."""

    unet: UNet2DConditionModel
    vae: dict[str, Any]
    tokenizer: CLIPTokenizer
    scheduler: DDIMScheduler


class Facts(NamedTuple):
    """Height and width of the images in pixels, tokens read of a caption, (rows, columns, channels) of each block."""

    height: int
    width: int
    context: int
    shapes: dict[str, tuple[int, int, int]]


def load_model(settings: ModelSettings) -> DiffusionModel:
    """Load a diffusers folder or hub id. Weights are read as safetensors only.

    Whatever scheduler the folder names, sampling is DDIM on its noise schedule (paper, section 1). Raises
    ``DiffusionError`` if the folder is missing or incomplete, its parts do not fit each other, or a weight is missing,
    left over, of another shape or not finite.
    """
    folder.check_folder(settings.path)
    device = resolve_device(settings.device)
    dtype = getattr(torch, settings.dtype)
    given: dict[str, Any] = {"revision": settings.revision}
    heavy: dict[str, Any] = {**given, "torch_dtype": dtype, "low_cpu_mem_usage": False}
    with _loading(settings):
        unet = load_part(UNet2DConditionModel, settings.path, "unet", **heavy)
        vae = load_part(AutoencoderKL, settings.path, "vae", **heavy)
        scheduler = load_schedule(settings.path, settings.revision)
    words = _text_encoder(settings)
    folder.check_fit(unet.config, vae.config, words.text_encoder.config.to_dict())
    for module in (unet, vae):
        module.requires_grad_(False).eval().to(device)
    return DiffusionModel(unet, vae, words.text_encoder, words.tokenizer, scheduler, device, dtype)


def load_text_encoder(settings: ModelSettings) -> TextEncoder:
    """The text encoder and its tokenizer alone, for what embeds words and samples nothing. Raises as ``load_model``."""
    folder.check_folder(settings.path)
    return _text_encoder(settings)


def _text_encoder(settings: ModelSettings) -> TextEncoder:
    device, dtype = resolve_device(settings.device), getattr(torch, settings.dtype)
    given: dict[str, Any] = {"revision": settings.revision}
    with _loading(settings):
        text = load_part(CLIPTextModel, settings.path, "text_encoder", dtype=dtype, **given)
        tokenizer = CLIPTokenizer.from_pretrained(settings.path, subfolder="tokenizer", **given)
    folder.check_tokenizer(tokenizer, text.config.to_dict())
    return TextEncoder(text.requires_grad_(False).eval().to(device), tokenizer, device)


def outline(settings: ModelSettings) -> Outline:
    """The model without its weights, in a second. Raises ``DiffusionError`` for all that can be known beforehand."""
    folder.check_folder(settings.path)
    resolve_device(settings.device)
    given: dict[str, Any] = {"revision": settings.revision}
    with _loading(settings):
        configs = {
            part: dict(model_class.load_config(settings.path, subfolder=part, **given))
            for part, model_class in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL))
        }
        text = CLIPTextConfig.from_pretrained(settings.path, subfolder="text_encoder", **given).to_dict()
        tokenizer = CLIPTokenizer.from_pretrained(settings.path, subfolder="tokenizer", **given)
        scheduler = load_schedule(settings.path, settings.revision)
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(configs["unet"])
            vae = AutoencoderKL.from_config(configs["vae"])
    folder.check_fit(unet.config, vae.config, text)
    folder.check_tokenizer(tokenizer, text)
    return Outline(unet, dict(vae.config), tokenizer, scheduler)


def check_model(settings: ModelSettings, sampling: SamplingSettings, blocks: dict[str, str]) -> Facts:
    """What a study has to know of its model, told without reading a weight.

    Raises ``DiffusionError`` for a model, a device, steps, an image size or a block that cannot be.
    """
    outlined = outline(settings)
    set_steps(outlined.scheduler, sampling.steps)
    check_blocks(outlined, blocks)
    height, width = folder.image_size(outlined.unet.config, outlined.vae, sampling)
    latent = torch.zeros((1, *folder.latent_shape(outlined.unet.config, outlined.vae, sampling)), device="meta")
    context = int(outlined.tokenizer.model_max_length)
    states = torch.zeros((1, context, outlined.unet.config.cross_attention_dim), device="meta")
    with _loading(settings):  # a config that can be read may still describe no U-Net that runs
        shapes = _shapes(outlined.unet, blocks, latent, states)
    return Facts(height, width, context, shapes)


@contextmanager
def _loading(settings: ModelSettings) -> Iterator[None]:
    """Turn whatever the libraries raise into one sentence, and keep their progress bars out of the study's own."""
    transformers_logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    try:
        yield
    except DiffusionError:
        raise
    except Exception as error:  # they raise a dozen kinds; all mean the same to the user
        reason = " ".join(str(error).split())[:200]
        raise DiffusionError(
            f"model.path {settings.path!r} cannot be loaded ({reason}): it must be a whole diffusers folder, "
            "or a hub id that this machine can reach"
        ) from error


def attention_blocks(model: DiffusionModel | Outline) -> list[str]:
    """Module paths of the U-Net's cross-attention transformer blocks: what can be recorded."""
    return [name for name, module in model.unet.named_modules() if isinstance(module, Transformer2DModel)]


def running_order(path: str) -> tuple[int, ...]:
    """What sorts module paths of blocks as the U-Net runs them: down, middle, up, and by their numbers."""
    place, *rest = path.split(".")
    return (("down_blocks", "mid_block", "up_blocks").index(place), *(int(n) for n in rest if n.isdigit()))


def check_blocks(model: DiffusionModel | Outline, blocks: dict[str, str]) -> None:
    """Raise ``DiffusionError`` for a module path that the U-Net does not have, listing those it has."""
    known = attention_blocks(model)
    for name, path in blocks.items():
        if path not in known:
            raise DiffusionError(f"sites.blocks.{name}: the model has no block {path!r}; it has {', '.join(known)}")


@torch.inference_mode()
def block_shapes(
    model: DiffusionModel, blocks: dict[str, str], settings: SamplingSettings
) -> dict[str, tuple[int, int, int]]:
    """(rows, columns, channels) of each block's residual update, from one dry U-Net call."""
    check_blocks(model, blocks)
    latent = torch.zeros((1, *model.latent_shape(settings)), device=model.device, dtype=model.dtype)
    return _shapes(model.unet, blocks, latent, encode_captions(model, [""]))


@torch.inference_mode()
def _shapes(
    unet: UNet2DConditionModel, blocks: dict[str, str], latent: torch.Tensor, states: torch.Tensor
) -> dict[str, tuple[int, int, int]]:
    shapes: dict[str, tuple[int, int, int]] = {}
    hooks = []
    for name, path in blocks.items():

        def remember(_module: Any, inputs: Any, _output: Any, name: str = name) -> None:
            _, channels, rows, columns = inputs[0].shape
            shapes[name] = (rows, columns, channels)

        hooks.append(unet.get_submodule(path).register_forward_hook(remember))
    try:
        unet(latent, 0, states)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


@torch.inference_mode()
def encode_captions(model: DiffusionModel, captions: list[str]) -> torch.Tensor:
    """Text encoder states [B, context, width]. A longer caption is cut to the context: planned prompts never are."""
    tokens = model.tokenizer(
        captions, padding="max_length", max_length=model.context, truncation=True, return_tensors="pt"
    )
    masked = getattr(model.text_encoder.config, "use_attention_mask", False)  # as in diffusers' pipeline
    mask = tokens.attention_mask.to(model.device) if masked else None
    return model.text_encoder(tokens.input_ids.to(model.device), attention_mask=mask).last_hidden_state


def token_ids(model: DiffusionModel, captions: list[str]) -> list[list[int]]:
    """CLIP tokens of each caption, begin and end included, nothing cut: all that the model reads of it."""
    return list(model.tokenizer(captions, truncation=False, verbose=False).input_ids)


@torch.inference_mode()
def embed_labels(model: DiffusionModel | TextEncoder, labels: list[str]) -> np.ndarray:
    """float32 [n, width]: the text encoder's final states, averaged over each label's own tokens.

    Raises ``DiffusionError`` for a label that the model cannot read to its end: it would stand for another one.
    """
    vectors = []
    for label in labels:
        ids = model.tokenizer([label], truncation=False, verbose=False, return_tensors="pt").input_ids.to(model.device)
        if ids.shape[1] > model.tokenizer.model_max_length:
            raise DiffusionError(
                f"label {label[:60]!r} is {ids.shape[1]} tokens to the text encoder, which reads at most "
                f"{model.tokenizer.model_max_length}: shorten it"
            )
        states = model.text_encoder(ids).last_hidden_state[0, 1:-1]  # without begin and end
        vectors.append(states.float().mean(0).cpu().numpy())
    return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
