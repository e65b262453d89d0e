"""How the sparse autoencoders are trained."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SAESettings(BaseModel):
    """One TopK SAE per site and k. Defaults are the paper's (section 2) where it states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    k: tuple[int, ...] = Field((10, 20), description="Latents that may be on at a position; one SAE for each value.")
    expansion: int = Field(4, ge=1, description="Latents per input channel: n = expansion * d.")
    batch_size: int = Field(4096, ge=1, description="Vectors a step, mixed across images.")
    lr: float = Field(1e-4, gt=0, description="Adam's learning rate at its plateau.")
    epochs: int = Field(1, ge=1, description="Passes over the train split; the paper's one is enough at 200k prompts.")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    decay_fraction: float = Field(0.2, ge=0, lt=1, description="Share of the steps, at the end, with a linear decay.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient, all parameters together.")
    aux_alpha: float = Field(1 / 32, ge=0, description="Weight of AuxK (Gao et al. 2024).")
    aux_k: int = Field(256, ge=1, description="Most dead latents that reconstruct the residual in AuxK.")
    dead_after_vectors: int = Field(
        10_000_000, ge=1, description="A latent that has not fired in this many vectors is dead; Gao et al.'s value."
    )
    adam_eps: float = Field(6.25e-10, gt=0, description="Adam's epsilon; gradients of rare latents are tiny.")
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints; a kill loses at most these.")

    @field_validator("k")
    @classmethod
    def _distinct(cls, k: tuple[int, ...]) -> tuple[int, ...]:
        if not k or min(k) < 1 or len(set(k)) != len(k):
            raise ValueError(f"sae.k must be distinct positive numbers, got {list(k)}")
        return k
