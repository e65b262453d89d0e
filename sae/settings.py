"""How the sparse autoencoders are trained: one settings class for every variant."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SAESettings(BaseModel):
    """SAEs of one site: all (k, expansion, seed) are trained together from one read of the data.

    Defaults are the paper's (section 2) where it states them. The first expansion and the first seed make the
    dictionary that later stages use; further ones tell what width changes and how stable the concepts are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: Literal["topk", "batchtopk"] = Field(
        "topk",
        description="topk: the k largest latents of each vector (the paper). batchtopk: the k * batch_size largest of "
        "a batch (Bussmann et al. 2024), at most 4 k in a vector; used afterwards through a threshold.",
    )
    matryoshka: tuple[float, ...] = Field(
        (),
        description="Shares of the latents, ascending and ending with 1, that must each reconstruct on their own "
        "(Bussmann et al. 2025): early latents become general, late ones specific. Empty: only all together.",
    )
    k: tuple[int, ...] = Field((10, 20), description="Latents that may be on at a position; one SAE for each value.")
    expansion: tuple[int, ...] = Field(
        (4,),
        description="Latents per input channel: n = expansion * d; one SAE for each value. A single number will do.",
    )
    seeds: int = Field(
        1,
        ge=1,
        description="Initialisations of each (k, expansion); with 2, `stability` says which concepts recur, "
        "and `concept_matches` what partners through time owe to a common start.",
    )
    frozen_control: bool = Field(
        True,
        description="Also train each k of the first expansion with its decoder left as initialised: what an encoder "
        "alone achieves with random directions.",
    )
    controls: tuple[Literal["soft_frozen", "frozen_encoder"], ...] = Field(
        (),
        description="Further controls of each k of the first expansion, of the first seed. soft_frozen: everything "
        "trains, but no concept vector goes below a cosine of 0.8 to its random start (arXiv 2602.14111): what learnt "
        "directions add. frozen_encoder: the decoder alone trains: what a learnt encoder adds. Each costs one more "
        "SAE of the stack: its training, labels, layouts and rows of the bench.",
    )
    across_time: bool = Field(
        False,
        description="Also train one SAE per (block, conditioning, k) on all times together, so that a CID means the "
        "same direction at every time; its rows are of kind 'shared'. Costs as much as the SAEs of single times, and "
        "twice that with sae.seeds of 2: a second one tells how well its concepts recur.",
    )
    match_prompts: int = Field(
        2000,
        ge=1,
        description="Most prompts of the dictionary split over which the co-activation of concepts of neighbouring "
        "times is counted; the counts' memory does not depend on it, their time does.",
    )
    buffer_gb: float | None = Field(
        1.2,
        gt=0,
        description="Gigabytes (10^9 bytes) of activations that are held while their vectors are mixed into batches, "
        "at least one shard; for the SAE of all times, of all its sites together. More mixes further, and reads no "
        "faster. Empty: 2048 prompts of each site, whatever they weigh, as studies from before this setting have it.",
    )
    batch_size: int = Field(4096, ge=1, description="Vectors a step, mixed across images.")
    lr: float = Field(1e-4, gt=0, description="Adam's learning rate at its plateau.")
    epochs: int = Field(1, ge=1, description="Passes over the train split; the paper's one is enough at 200k prompts.")
    vectors: int | None = Field(
        None,
        ge=1,
        description="Vectors of each site that an SAE sees, in as many passes as that takes: blocks of different size "
        "then train equally long. Empty: `epochs` passes, whatever they hold.",
    )
    axes: Literal["channels", "principal"] = Field(
        "channels",
        description="Axes that Adam's step sizes belong to. principal: the principal axes of the first 32,768 vectors; "
        "the same SAEs are possible, but directions of little variance no longer wait for those of much. On the "
        "miniature fewer latents die and dictionaries leave their start sooner (docs/bench.md). channels: the usual.",
    )
    encoder_start: float = Field(
        1.0,
        gt=0,
        description="Length of the encoder's rows at the start, where they are the decoder's. On the miniature two "
        "seeds agree better below 1, where directions grow from what the vectors share before they compete.",
    )
    adam_betas: tuple[float, float] = Field(
        (0.9, 0.999),
        description="How slowly Adam forgets gradients and their squares. A run of a few hundred steps is over before "
        "0.999 has forgotten its first ones; 0.99 suits it.",
    )
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="Share of the steps with a rising learning rate.")
    decay_fraction: float = Field(0.2, ge=0, lt=1, description="Share of the steps, at the end, with a linear decay.")
    clip: float = Field(1.0, gt=0, description="Largest norm of one SAE's gradient; the loss is the share unexplained.")
    aux_alpha: float = Field(1 / 32, ge=0, description="Weight of AuxK (Gao et al. 2024).")
    aux_k: int = Field(256, ge=1, description="Most dead latents that reconstruct the residual in AuxK.")
    dead_after_vectors: int = Field(
        10_000_000, ge=1, description="A latent that has not fired in this many vectors is dead; Gao et al.'s value."
    )
    dead_check_every: int = Field(
        50,
        ge=1,
        description="Steps between looks at which latents are dead. A look waits for the device; a latent that fires "
        "between two looks leaves AuxK at once, one that dies waits for the next.",
    )
    adam_eps: float = Field(6.25e-10, gt=0, description="Adam's epsilon; gradients of rare latents are tiny.")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Of the product that finds the k largest latents. bfloat16 finds k + 8 candidates, whose values "
        "are then computed in float32; weights, gradients and the optimiser are float32 always. Twice as fast where "
        "the hardware multiplies bfloat16 (GPUs, recent server CPUs), slower elsewhere.",
    )
    checkpoint_every: int = Field(500, ge=1, description="Steps between checkpoints; a kill loses at most these.")
    refresh: Literal["never", "continue", "retrain"] = Field(
        "never",
        description="What SAEs do when their captions have grown (prompts.split_by: caption). never: they stay as they "
        "are. retrain: they are trained anew on all captions of the train split, as a study of these would have them. "
        "continue: they go on from where they are, on all of them, for the new ones' share of the steps.",
    )
    refresh_from: float = Field(
        0.1,
        ge=0,
        le=10,
        description="Growth of the train split, as a share of what SAEs were trained on last, from which they are "
        "refreshed. 0: whenever it has gained a shard.",
    )

    def steps(self, per_epoch: int, sites: int = 1) -> int:
        """Steps of a run of ``per_epoch`` a pass: ``epochs`` passes, or as many as show ``vectors`` of each site."""
        return self.epochs * per_epoch if self.vectors is None else max(1, self.vectors * sites // self.batch_size)

    @field_validator("expansion", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else tuple(value) if isinstance(value, list) else value

    @field_validator("k", "expansion")
    @classmethod
    def _distinct(cls, values: tuple[int, ...], info: Any) -> tuple[int, ...]:
        if not values or min(values) < 1 or len(set(values)) != len(values):
            raise ValueError(f"sae.{info.field_name} must be distinct positive numbers, got {list(values)}")
        return values

    @field_validator("controls")
    @classmethod
    def _named_once(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(kinds)) != len(kinds):
            raise ValueError(f"sae.controls names a control twice: {list(kinds)}")
        return kinds

    @field_validator("matryoshka")
    @classmethod
    def _nested(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if shares and (shares[0] <= 0 or shares[-1] != 1 or any(a >= b for a, b in pairwise(shares))):
            raise ValueError(
                f"sae.matryoshka must ascend from above 0 to 1, such as [0.0625, 0.25, 1], got {list(shares)}"
            )
        return shares

    @field_validator("adam_betas")
    @classmethod
    def _betas(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"sae.adam_betas must be two numbers from 0 to below 1, got {list(betas)}")
        return betas

    @model_validator(mode="after")
    def _one_length(self) -> SAESettings:
        if self.vectors is not None and self.epochs != 1:
            raise ValueError(
                f"sae.vectors {self.vectors} and sae.epochs {self.epochs} both say how long to train: leave one out"
            )
        return self

    @model_validator(mode="after")
    def _schedule_fits(self) -> SAESettings:
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ValueError("sae.warmup_fraction and sae.decay_fraction together exceed 1: there is no plateau left")
        return self
