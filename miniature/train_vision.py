"""Train the scene segmenter on drawn scenes, half of them passed through the autoencoder first.

The round trip matters: the network will judge decoded images, whose blur no drawing has.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import avg_pool2d, cross_entropy

from miniature.train_vae import log_row
from miniature.world import LABELS, STYLES, Scene, make_scene
from vision.mini_network import PLAIN, SceneNetwork

FIRST_SCENE = 20_000_000
STYLE_NAMES = (PLAIN, *STYLES)


def targets(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor]:
    """Class index int64 [B, 64, 64] and style index int64 [B]."""
    index = np.zeros((len(scenes), 64, 64), np.int64)
    for row, scene in enumerate(scenes):
        for label, mask in scene.masks.items():
            index[row][mask] = LABELS.index(label)
    styles = [STYLE_NAMES.index(scene.style or PLAIN) for scene in scenes]
    return torch.from_numpy(index), torch.tensor(styles)


def images_of(scenes: list[Scene]) -> torch.Tensor:
    """float32 [B, 3, 64, 64] in [0, 1]."""
    return torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2).float() / 255


def augment(x: torch.Tensor, vae: AutoencoderKL, generator: torch.Generator) -> torch.Tensor:
    """First half through the autoencoder; noise, brightness and a little blur on all."""
    half = len(x) // 2
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        latent = vae.encode(x[:half] * 2 - 1).latent_dist.mean
        noisy = latent + 0.15 * latent.std() * torch.randn(latent.shape, generator=generator)
        decoded = vae.decode(noisy).sample.float() / 2 + 0.5
    x = torch.cat([decoded.clamp(0, 1), x[half:]])
    blurred = avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    mix = torch.rand(len(x), 1, 1, 1, generator=generator) * 0.6
    x = x * (1 - mix) + blurred * mix
    x = x * (1 + 0.16 * (torch.rand(len(x), 1, 1, 1, generator=generator) - 0.5))
    return (x + 0.03 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


def train_vision(work: Path, vae: AutoencoderKL, steps: int = 1500, batch: int = 32, lr: float = 3e-3) -> SceneNetwork:
    """Train from scratch (three minutes on two cores: short enough not to need a checkpoint)."""
    torch.manual_seed(3)
    network = SceneNetwork(LABELS, STYLE_NAMES)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    started = time.time()
    for step in range(steps):
        scenes = [make_scene(FIRST_SCENE + step * batch + i) for i in range(batch)]
        classes, styles = targets(scenes)
        x = augment(images_of(scenes), vae, torch.Generator().manual_seed(step))
        with torch.autocast("cpu", torch.bfloat16):
            class_logits, style_logits = network(x)
        loss = cross_entropy(class_logits.float(), classes) + 0.3 * cross_entropy(style_logits.float(), styles)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 20 == 0 or step + 1 == steps:
            log_row(
                work / "vision", {"step": step, "loss": round(loss.item(), 4), "seconds": round(time.time() - started)}
            )
    return network.eval()
