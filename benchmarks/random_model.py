"""A folder of Stable Diffusion v1.4's architecture with random weights: its sizes and costs without its training."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from miniature.tokenizer import write_tokenizer

CONTEXT, VOCABULARY = 77, 49408
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
}
VAE = {
    "sample_size": 512,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
TEXT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": CONTEXT,
}
SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def build_model(folder: Path, seed: int = 0) -> None:
    """Write the folder, 2.1 GB in float16. Every part has the published sizes; weights are as they are initialised.

    Only the tokenizer's words are the miniature's, with a vocabulary filled up to CLIP's 49,408: CLIP's own cannot be
    had without a download, and which words are one token changes no cost.
    """
    torch.manual_seed(seed)
    parts = {
        "unet": lambda: UNet2DConditionModel(**UNET),
        "vae": lambda: AutoencoderKL(**VAE),
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(**TEXT)),
    }
    for name, make in parts.items():
        make().to(torch.float16).save_pretrained(folder / name, safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    write_full_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n")


def write_full_tokenizer(folder: Path) -> None:
    """The miniature's tokenizer with CLIP's context and size; the end token stays the last, as CLIP's is."""
    write_tokenizer(folder)
    words = list(json.loads((folder / "vocab.json").read_text()))
    *words, begin, end = words
    words += [f"<|filler{i}|>" for i in range(VOCABULARY - len(words) - 2)]
    vocabulary = {token: i for i, token in enumerate([*words, begin, end])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=CONTEXT)
    tokenizer.save_pretrained(folder)
