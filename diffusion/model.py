"""Loading the model under study, and the questions one asks of it without sampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from diffusion.digest import check_folder
from diffusion.errors import DiffusionError
from diffusion.settings import ModelSettings, SamplingSettings


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
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        native = int(self.unet.config.sample_size)
        rows = native if settings.height is None else settings.height // factor
        columns = native if settings.width is None else settings.width // factor
        return int(self.unet.config.in_channels), rows, columns


def load_model(settings: ModelSettings) -> DiffusionModel:
    """Load a diffusers folder or hub id. Weights are read as safetensors only.

    Whatever scheduler the folder names, sampling is DDIM on its noise schedule (paper, section 1). Raises
    ``DiffusionError`` if the folder is missing, incomplete or damaged.
    """
    check_folder(settings.path)
    transformers_logging.disable_progress_bar()  # one line a weight file would bury the study's own progress
    device = _device(settings.device)
    dtype = getattr(torch, settings.dtype)
    given: dict[str, Any] = {"revision": settings.revision}
    heavy: dict[str, Any] = {**given, "torch_dtype": dtype, "use_safetensors": True, "low_cpu_mem_usage": False}
    try:
        unet = UNet2DConditionModel.from_pretrained(settings.path, subfolder="unet", **heavy)
        vae = AutoencoderKL.from_pretrained(settings.path, subfolder="vae", **heavy)
        text = CLIPTextModel.from_pretrained(
            settings.path, subfolder="text_encoder", dtype=dtype, use_safetensors=True, **given
        )
        tokenizer = CLIPTokenizer.from_pretrained(settings.path, subfolder="tokenizer", **given)
        scheduler = DDIMScheduler.from_pretrained(settings.path, subfolder="scheduler", **given)
    except Exception as error:  # the libraries raise a dozen kinds; all mean the same to the user
        reason = " ".join(str(error).split())[:200]
        raise DiffusionError(
            f"model.path {settings.path!r} cannot be loaded ({reason}): it must be a whole diffusers folder, "
            "or a hub id that this machine can reach"
        ) from error
    for module in (unet, vae, text):
        module.requires_grad_(False).eval().to(device)
    return DiffusionModel(unet, vae, text, tokenizer, scheduler, device, dtype)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise DiffusionError(f"model.device {name!r} is no torch device: use 'auto', 'cpu' or 'cuda:0'") from error


def attention_blocks(model: DiffusionModel) -> list[str]:
    """Module paths of the U-Net's cross-attention transformer blocks: what can be recorded."""
    return [name for name, module in model.unet.named_modules() if isinstance(module, Transformer2DModel)]


def check_blocks(model: DiffusionModel, blocks: dict[str, str]) -> None:
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
    shapes: dict[str, tuple[int, int, int]] = {}
    hooks = []
    for name, path in blocks.items():

        def remember(_module: Any, inputs: Any, _output: Any, name: str = name) -> None:
            _, channels, rows, columns = inputs[0].shape
            shapes[name] = (rows, columns, channels)

        hooks.append(model.unet.get_submodule(path).register_forward_hook(remember))
    try:
        latent = torch.zeros((1, *model.latent_shape(settings)), device=model.device, dtype=model.dtype)
        model.unet(latent, 0, encode_captions(model, [""]))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


@torch.inference_mode()
def encode_captions(model: DiffusionModel, captions: list[str]) -> torch.Tensor:
    """Text encoder states [B, 77, width], captions cut to CLIP's context."""
    ids = model.tokenizer(
        captions,
        padding="max_length",
        max_length=model.tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return model.text_encoder(ids.to(model.device)).last_hidden_state


def count_tokens(model: DiffusionModel, captions: list[str]) -> list[int]:
    """CLIP tokens of each caption, begin and end included, nothing cut."""
    return [len(ids) for ids in model.tokenizer(captions, truncation=False, verbose=False).input_ids]


@torch.inference_mode()
def embed_labels(model: DiffusionModel, labels: list[str]) -> np.ndarray:
    """float32 [n, width]: the text encoder's final states, averaged over each label's own tokens."""
    vectors = []
    for label in labels:
        ids = model.tokenizer([label], truncation=True, return_tensors="pt").input_ids.to(model.device)
        states = model.text_encoder(ids).last_hidden_state[0, 1:-1]  # without begin and end
        vectors.append(states.float().mean(0).cpu().numpy())
    return np.stack(vectors) if vectors else np.zeros((0, 1), np.float32)
