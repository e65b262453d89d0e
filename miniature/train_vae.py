"""Train the miniature's AutoencoderKL: 64 px scenes to 16 x 16 x 4 latents."""

from __future__ import annotations

import json
import time
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


def scene_batch(first: int, count: int) -> torch.Tensor:
    """Scenes first..first+count-1 as float32 [count, 3, 64, 64] in [-1, 1]."""
    images = np.stack([make_scene(seed).image for seed in range(first, first + count)])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def train_vae(work: Path, steps: int = 1700, batch: int = 32, lr: float = 2e-3) -> AutoencoderKL:
    """Train (or resume) the autoencoder; the returned model carries its measured scaling factor.

    Loss: L1 + MSE + 1e-6 KL. The learning rate falls linearly to zero over the second half; ``steps`` may be
    raised on resume.
    """
    folder, settings = work / "vae", {"batch": batch, "lr": lr}
    torch.manual_seed(1)
    vae = new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=1e-4)
    first = 0
    if found := load_checkpoint(folder):
        tensors, facts = found
        check_settings(facts, settings, folder)
        vae.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        restore_optimizer(optimizer, tensors)
        first = int(facts["step"])  # type: ignore[call-overload]
    started = time.time()
    for step in range(first, steps):
        loss = _step(vae, optimizer, step, steps, batch, lr)
        if step % 20 == 0:
            log_row(folder, {"step": step, "l1": loss, "seconds": round(time.time() - started, 1)})
        if (step + 1) % 100 == 0 or step + 1 == steps:
            tensors = {f"model.{k}": v for k, v in vae.state_dict().items()} | flatten_optimizer(optimizer)
            save_checkpoint(folder, tensors, {**settings, "step": step + 1})
    vae.eval()
    with torch.no_grad():
        std = vae.encode(scene_batch(10_000_000, 128)).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=round(1.0 / std, 5))
    return vae


def _step(vae: AutoencoderKL, optimizer: torch.optim.Optimizer, step: int, steps: int, batch: int, lr: float) -> float:
    for group in optimizer.param_groups:
        group["lr"] = lr * min(1.0, (step + 1) / 50, 2.0 * (steps - step) / steps)
    x = scene_batch(10_000_000 + 200 + step * batch, batch)
    generator = torch.Generator().manual_seed(step)
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(x).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator)
        out = vae.decode(posterior.mean + posterior.std * noise).sample
    difference = out.float() - x
    kl = (
        0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).sum((1, 2, 3)).mean()
    )
    l1 = difference.abs().mean()
    loss = l1 + difference.square().mean() + 1e-6 * kl
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    return l1.item()


def log_row(folder: Path, row: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(folder.name, row, flush=True)
