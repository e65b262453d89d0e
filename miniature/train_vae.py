"""Train the miniature's AutoencoderKL: 64 px scenes to 16 x 16 x 4 latents."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from miniature.checkpoint import (
    check_settings,
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from miniature.precision import in_bfloat16
from miniature.settings import World
from miniature.world import make_scene


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder of the miniature's shape."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=64,
    )


def scene_batch(first: int, count: int, world: World | None = None) -> torch.Tensor:
    """Scenes first..first+count-1 as float32 [count, 3, 64, 64] in [-1, 1]."""
    images = np.stack([make_scene(seed, world=world).image for seed in range(first, first + count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@dataclass(frozen=True)
class Leg:
    """A stretch of training with one rate: it rises over 50 steps and falls linearly to zero over the second half.

    ``sharp`` also counts differences of neighbouring pixels, and pictures of low contrast (night) more.
    """

    steps: int
    batch: int
    lr: float
    sharp: bool


@dataclass(frozen=True)
class VaeSettings:
    """What fixes a run. The first leg alone left eyes and legs of animals a blur (23.5 dB), hence the second."""

    legs: tuple[Leg, ...] = (Leg(1700, 32, 2e-3, False), Leg(3000, 16, 1.2e-3, True))
    first_scene: int = 10_000_000
    seed: int = 1

    def place(self, step: int) -> tuple[Leg, int, int]:
        """The leg of a step, the step's number in it, and how many scenes were seen before it."""
        seen = 0
        for leg in self.legs:
            if step < leg.steps:
                return leg, step, seen + step * leg.batch
            step, seen = step - leg.steps, seen + leg.steps * leg.batch
        raise IndexError(step)


class VaeRun:
    """One training run of the autoencoder; every step is a function of its number."""

    def __init__(self, settings: VaeSettings, world: World):
        torch.manual_seed(settings.seed)
        self.settings, self.world, self.step = settings, world, 0
        self.vae = new_vae()
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-4)

    @property
    def facts(self) -> dict[str, object]:
        """What a checkpoint is checked against."""
        return {**json.loads(json.dumps(asdict(self.settings))), "world": self.world.digest()}

    def train_step(self) -> float:
        """One optimiser step; returns the mean absolute error, in units of half the range of a channel."""
        leg, step, seen = self.settings.place(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = leg.lr * min(1.0, (step + 1) / 50, 2.0 * (leg.steps - step) / leg.steps)
        x = scene_batch(self.settings.first_scene + 200 + seen, leg.batch, self.world)
        generator = torch.Generator().manual_seed(self.step)
        with in_bfloat16():
            posterior = self.vae.encode(x).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator)
            out = self.vae.decode(posterior.mean + posterior.std * noise).sample
        variance = posterior.var.float()
        kl = 0.5 * (posterior.mean.float() ** 2 + variance - 1 - posterior.logvar.float()).sum((1, 2, 3)).mean()
        loss = _image_loss(out.float(), x, leg.sharp) + 1e-6 * kl
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return (out.float() - x).abs().mean().item()

    def save(self, folder: Path) -> None:
        """Write a checkpoint that ``resume`` continues from."""
        tensors = {f"model.{k}": v for k, v in self.vae.state_dict().items()} | flatten_optimizer(self.optimizer)
        save_checkpoint(folder, tensors, {**self.facts, "step": self.step})

    def resume(self, folder: Path) -> None:
        """Continue from the folder's checkpoint if it has one."""
        if not (found := load_checkpoint(folder)):
            return
        tensors, facts = found
        check_settings(facts, self.facts, folder)
        self.vae.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        restore_optimizer(self.optimizer, tensors)
        self.step = int(facts["step"])  # type: ignore[call-overload]


def _image_loss(out: torch.Tensor, x: torch.Tensor, sharp: bool) -> torch.Tensor:
    """L1 + squared error [B, 3, H, W]; ``sharp`` adds the L1 of differences of neighbours, weighted up where dim."""
    error = (out - x).abs().mean((1, 2, 3)) + (out - x).square().mean((1, 2, 3))
    if not sharp:
        return error.mean()
    for axis in (2, 3):
        error = error + 0.5 * (out.diff(dim=axis) - x.diff(dim=axis)).abs().mean((1, 2, 3))
    return (error * (0.5 / x.std((1, 2, 3))).clamp(1.0, 3.0)).mean()


def train_vae(run: VaeRun, folder: Path, checkpoint_every: int = 100) -> AutoencoderKL:
    """Train (or resume) every leg; the returned model carries its measured scaling factor."""
    run.resume(folder)
    started, total = time.time(), sum(leg.steps for leg in run.settings.legs)
    while run.step < total:
        l1 = run.train_step()
        if run.step % 20 == 0:
            log_row(folder, {"step": run.step, "l1": round(l1, 5), "seconds": round(time.time() - started, 1)})
        if run.step % checkpoint_every == 0 or run.step == total:
            run.save(folder)
    vae = run.vae.eval()
    with torch.no_grad():
        std = vae.encode(scene_batch(run.settings.first_scene, 128, run.world)).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=round(1.0 / std, 5))
    return vae


def log_row(folder: Path, row: dict[str, object]) -> None:
    """Append one row to the folder's log.jsonl, and say it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(folder.name, row, flush=True)
