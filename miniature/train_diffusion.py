"""Train the miniature's U-Net and CLIP text encoder together, on latents of drawn scenes.

SD's noise schedule and epsilon prediction; one caption in ten is dropped so that guidance works; an exponential
moving average of the weights is what ships.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from miniature.checkpoint import (
    check_settings,
    digest,
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from miniature.precision import in_bfloat16
from miniature.settings import World
from miniature.tokenizer import MAX_TOKENS
from miniature.train_vae import log_row, scene_batch
from miniature.world import make_scene

TEXT_WIDTH = 128
HEADS = 2  # diffusers calls the number of heads attention_head_dim, as SD v1.4's config does
FIRST_SCENE = 1_000_000  # training scenes start here; tests and held-out captions use other seeds


@dataclass(frozen=True)
class DiffusionSettings:
    """What fixes a training run. ``steps`` may change on resume: it only places the cool-down."""

    scenes: int = 24_000
    batch: int = 64
    lr: float = 1e-3
    warmup: int = 100
    drop: float = 0.1
    ema: float = 0.999
    width: int = 64
    text_tokens: int = MAX_TOKENS  # as many positions as the shipped tokenizer pads to
    mirror: bool = True  # half of the scenes mirrored; has to be off where captions tell left from right
    data: str = ""  # digests of the world and the autoencoder, so that a run is not resumed on other latents


def new_unet(width: int = 64) -> UNet2DConditionModel:
    """SD's architecture in small: 16 x 16 grids at down and up, 8 x 8 at mid."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(width, 2 * width),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=HEADS,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers, 128 wide, 77 positions."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def new_scheduler() -> DDIMScheduler:
    """SD's schedule, sampled by DDIM as the paper does."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def encode_scenes(vae: AutoencoderKL, count: int, work: Path, world: World) -> tuple[np.ndarray, list[str]]:
    """Scaled latents float16 [count, 2 (plain, mirrored), 4, 16, 16] and captions.

    Cached in ``work`` under a name that holds the world's and the autoencoder's digests: others have another cache.
    """
    name = f"{count}-{world.digest()}-{digest(vae)}"
    latents_file, captions_file = work / f"latents-{name}.npy", work / f"captions-{name}.json"
    if not captions_file.exists():
        blocks, captions = [], []
        for first in range(FIRST_SCENE, FIRST_SCENE + count, 100):
            size = min(100, FIRST_SCENE + count - first)
            captions += [make_scene(seed, world=world).caption for seed in range(first, first + size)]
            x = scene_batch(first, size, world)
            with torch.no_grad(), in_bfloat16():
                pair = [vae.encode(v).latent_dist.mean.float() for v in (x, x.flip(-1))]
            blocks.append((torch.stack(pair, 1) * vae.config.scaling_factor).half().numpy())
        work.mkdir(parents=True, exist_ok=True)
        np.save(latents_file, np.concatenate(blocks))
        captions_file.write_text(json.dumps(captions), encoding="utf-8")
    return np.load(latents_file), json.loads(captions_file.read_text(encoding="utf-8"))


def loss_weight(alpha: torch.Tensor) -> torch.Tensor:
    """Weight of the squared error of epsilon at cumulative ``alpha``: min(SNR**-0.5, 5 / SNR).

    Plain epsilon loss hardly sees the error of the image where noise is strong, and there the caption is obeyed or not;
    SNR**-0.5 (Yu et al. 2023, "Debias the Training of Diffusion Models") lifts it, 5 / SNR (Hang et al. 2023, min-SNR)
    keeps the nearly clean end from taking over.
    """
    snr = alpha / (1 - alpha)
    return torch.minimum(snr.rsqrt(), 5.0 / snr)


class DiffusionRun:
    """One training run: modules, averaged weights, optimiser and data; every step a function of its number."""

    def __init__(self, settings: DiffusionSettings, latents: np.ndarray, captions: list[str], tokenizer: CLIPTokenizer):
        torch.manual_seed(2)
        self.settings, self.tokenizer = settings, tokenizer
        unet = new_unet(settings.width)
        self.modules = torch.nn.ModuleDict({"unet": unet, "text": new_text_encoder(tokenizer)})
        # On a CPU, gradients of fused attention take longer than all convolutions: plain products are a third faster.
        unet.set_attn_processor(AttnProcessor())
        self.ema = {name: p.detach().clone() for name, p in self.modules.named_parameters()}
        self.optimizer = torch.optim.AdamW(
            self.modules.parameters(), lr=settings.lr, betas=(0.9, 0.99), weight_decay=1e-2
        )
        self.latents = torch.from_numpy(latents)
        tokens = settings.text_tokens
        self.ids = tokenizer(
            captions, padding="max_length", max_length=tokens, truncation=True, return_tensors="pt"
        ).input_ids
        self.empty = tokenizer([""], padding="max_length", max_length=tokens, return_tensors="pt").input_ids
        self.alphas = new_scheduler().alphas_cumprod
        self.step = 0

    def train_step(self, total: int) -> float:
        """One optimiser step; returns the weighted squared error of epsilon (``loss_weight``)."""
        s, generator = self.settings, torch.Generator().manual_seed(7_000_000 + self.step)
        cooldown = (total - self.step) / max(0.2 * total, 1)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * max(0.02, min(1.0, (self.step + 1) / s.warmup, cooldown))
        rows = torch.randint(len(self.latents), (s.batch,), generator=generator)
        mirrored = torch.randint(2, (s.batch,), generator=generator) * s.mirror
        x = self.latents[rows, mirrored].float()
        ids = self.ids[rows].clone()
        ids[torch.rand(s.batch, generator=generator) < s.drop] = self.empty[0]
        t = torch.randint(1000, (s.batch,), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        alpha = self.alphas[t][:, None, None, None]
        noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
        with in_bfloat16():
            hidden = self.modules["text"](ids).last_hidden_state
            predicted = self.modules["unet"](noisy, t, hidden).sample
        loss = (loss_weight(alpha.flatten()) * (predicted.float() - noise).square().mean((1, 2, 3))).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._average()
        return loss.item()

    def _average(self) -> None:
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.modules.named_parameters():
                self.ema[name].lerp_(p, 1 - decay)

    def save(self, folder: Path) -> None:
        """Write a checkpoint that ``resume`` continues from."""
        tensors = {f"model.{k}": v for k, v in self.modules.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()} | flatten_optimizer(self.optimizer)
        save_checkpoint(folder, tensors, {**asdict(self.settings), "step": self.step})

    def resume(self, folder: Path) -> None:
        """Continue from the folder's checkpoint if it has one."""
        if not (found := load_checkpoint(folder)):
            return
        tensors, facts = found
        check_settings(facts, asdict(self.settings), folder)
        self.modules.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        self.ema = {k[4:]: v for k, v in tensors.items() if k.startswith("ema.")}
        restore_optimizer(self.optimizer, tensors)
        self.step = int(facts["step"])  # type: ignore[call-overload]


def train_diffusion(run: DiffusionRun, folder: Path, steps: int, checkpoint_every: int = 100) -> None:
    """Train up to ``steps`` steps, resuming from ``folder``."""
    run.resume(folder)
    started, losses = time.time(), []
    while run.step < steps:
        losses.append(run.train_step(steps))
        if run.step % 50 == 0:
            log_row(
                folder,
                {"step": run.step, "loss": round(float(np.mean(losses)), 5), "seconds": round(time.time() - started)},
            )
            losses = []
        if run.step % checkpoint_every == 0 or run.step == steps:
            run.save(folder)
