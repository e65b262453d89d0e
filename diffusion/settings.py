"""Which model is studied and how images are sampled from it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ModelSettings(BaseModel):
    """The diffusion model: any folder or hub id in the diffusers layout with a U-Net, a VAE and a CLIP text encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Diffusers folder (starting with a dot: relative to the YAML file) or hub id.")
    revision: str | None = Field(None, description="Commit or tag of a hub id; pin it for a study you will cite.")
    device: str = Field("auto", description="torch device; 'auto' takes the GPU if there is one.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Arithmetic of U-Net, VAE and text encoder; float16 on a GPU, float32 on a CPU."
    )


_SIZE = (
    "in pixels; empty takes the model's own. A multiple of 64 for Stable Diffusion (8 for the miniature), so that the "
    "cells of every block tile the image."
)


class SamplingSettings(BaseModel):
    """Batched DDIM with classifier-free guidance. Defaults are the paper's (section 1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(
        50, ge=2, le=1000, description="DDIM steps; fewer than the model has training timesteps, mostly 1000."
    )
    guidance_scale: float = Field(7.5, ge=1.0, description="Classifier-free guidance scale; 1 is no guidance.")
    batch_size: int = Field(16, ge=1, description="Images in flight at once; bounded by memory.")
    height: int | None = Field(None, description=f"Image height {_SIZE}")
    width: int | None = Field(None, description=f"Image width {_SIZE}")
    train_images: bool = Field(
        False,
        description="Also decode and store the images of the train split, which no stage looks at: 125 GB at 200,000 "
        "prompts of 512 px. Without them the table `images` lacks that split but for the study's first eight prompts, "
        "whose images are shown; no other table lacks anything, and what is recorded is the same.",
    )
