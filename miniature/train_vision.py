"""Train a judge of scenes on drawn scenes, half of each batch passed through the autoencoder first.

The round trip matters: the network will judge decoded images, whose blur no drawing has. It is made once for a pool of
scenes, because it costs as much as a step of training; the other half of a batch is drawn anew each time. Neither judge
ever sees an image of the diffusion model, so what they say about those is not what they were taught.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn.functional import avg_pool2d, cross_entropy

from miniature.checkpoint import (
    check_settings,
    digest,
    flatten_optimizer,
    load_checkpoint,
    restore_optimizer,
    save_checkpoint,
)
from miniature.precision import in_bfloat16
from miniature.settings import COLOUR_WORDS, World
from miniature.train_vae import log_row
from miniature.world import LABELS, LOOKS, Scene, make_scene
from vision.mini_config import PLAIN
from vision.mini_network import UNCOLOURED, SceneNetwork

STYLE_NAMES = (PLAIN, *LOOKS)
COLOUR_NAMES = (UNCOLOURED, *COLOUR_WORDS)


@dataclass(frozen=True)
class VisionSettings:
    """What fixes a training run of a judge; ``first_scene`` gives each judge scenes of its own."""

    body: str = "unet"
    width: int = 24
    batch: int = 32
    pool: int = 6000  # scenes that passed through the autoencoder
    lr: float = 3e-3
    seed: int = 3
    first_scene: int = 20_000_000


JUDGES = {
    "vision": VisionSettings(),
    "second": VisionSettings(body="dilated", seed=4, first_scene=25_000_000),
}  # by stage of the training script


def targets(scenes: list[Scene]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Class index int64 [B, 64, 64], look index int64 [B] and colour index int64 [B, 64, 64]."""
    index, colour = np.zeros((2, len(scenes), 64, 64), np.int64)
    for row, scene in enumerate(scenes):
        for label, mask in scene.masks.items():
            index[row][mask] = LABELS.index(label)
        for item in scene.objects:
            if item.colour and item.name in scene.masks:
                colour[row][scene.masks[item.name]] = COLOUR_NAMES.index(item.colour)
    looks = [STYLE_NAMES.index(scene.look or PLAIN) for scene in scenes]
    return torch.from_numpy(index), torch.tensor(looks), torch.from_numpy(colour)


def images_of(scenes: list[Scene]) -> torch.Tensor:
    """float32 [B, 3, 64, 64] in [0, 1]."""
    return torch.from_numpy(np.stack([s.image for s in scenes])).permute(0, 3, 1, 2).float() / 255


@dataclass(frozen=True)
class LabelledScenes:
    """images float32 [B, 3, 64, 64] in [0, 1]; classes and colours int64 [B, 64, 64]; looks int64 [B]."""

    images: torch.Tensor
    classes: torch.Tensor
    looks: torch.Tensor
    colours: torch.Tensor

    def rows(self, index: torch.Tensor) -> LabelledScenes:
        """The examples at some indices, in their order."""
        return LabelledScenes(
            self.images[index], self.classes[index].long(), self.looks[index], self.colours[index].long()
        )

    def joined(self, other: LabelledScenes) -> LabelledScenes:
        """These examples, then the others."""
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return LabelledScenes(*(torch.cat(pair) for pair in pairs))


def draw_scenes(first: int, count: int, world: World) -> LabelledScenes:
    """Scenes first..first+count-1 as they are drawn."""
    scenes = [make_scene(seed, world=world) for seed in range(first, first + count)]
    return LabelledScenes(images_of(scenes), *targets(scenes))


def decoded_pool(settings: VisionSettings, vae: AutoencoderKL, world: World) -> LabelledScenes:
    """Scenes that passed through the autoencoder, with a little noise on the latent; classes and colours as uint8."""
    parts = []
    for first in range(0, settings.pool, 50):
        part = draw_scenes(settings.first_scene + first, min(50, settings.pool - first), world)
        generator = torch.Generator().manual_seed(first)
        with torch.no_grad(), in_bfloat16():
            latent = vae.encode(part.images * 2 - 1).latent_dist.mean
            strength = 0.15 * torch.rand(len(latent), 1, 1, 1, generator=generator) * latent.std()
            noisy = latent + strength * torch.randn(latent.shape, generator=generator)
            images = (vae.decode(noisy).sample.float() / 2 + 0.5).clamp(0, 1)
        parts.append(LabelledScenes(images, part.classes.byte(), part.looks, part.colours.byte()))
    return LabelledScenes(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(LabelledScenes)))


def augment(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the images get a little blur, brightness and noise."""
    touched = (torch.rand(len(x), 1, 1, 1, generator=generator) < 0.5).float()
    blurred = avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    mix = touched * torch.rand(len(x), 1, 1, 1, generator=generator) * 0.6
    x = x * (1 - mix) + blurred * mix
    x = x * (1 + touched * 0.16 * (torch.rand(len(x), 1, 1, 1, generator=generator) - 0.5))
    return (x + touched * 0.03 * torch.randn(x.shape, generator=generator)).clamp(0, 1)


class VisionRun:
    """One training run of a judge; every step is a function of its number. Making one decodes its pool."""

    def __init__(self, settings: VisionSettings, vae: AutoencoderKL, world: World):
        torch.manual_seed(settings.seed)
        self.settings, self.vae, self.world = settings, vae, world
        self.network = SceneNetwork(LABELS, STYLE_NAMES, COLOUR_NAMES, settings.width, settings.body)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=settings.lr, weight_decay=1e-3)
        self.pool = decoded_pool(settings, vae, world)
        self.step = 0

    @property
    def facts(self) -> dict[str, object]:
        """What a checkpoint is checked against."""
        return {**asdict(self.settings), "vae": digest(self.vae), "world": self.world.digest()}

    def train_step(self, total: int) -> float:
        """One optimiser step; the learning rate rises over 5 % of ``total`` and falls linearly over the last 60 %."""
        rate = min(1.0, (self.step + 1) / (0.05 * total), (total - self.step) / (0.6 * total))
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * rate
        half, generator = self.settings.batch // 2, torch.Generator().manual_seed(self.step)
        fresh = draw_scenes(self.settings.first_scene + self.settings.pool + self.step * half, half, self.world)
        batch = fresh.joined(self.pool.rows(torch.randint(self.settings.pool, (half,), generator=generator)))
        # Not for dilated layers: torch 2.13 gives NaN weight gradients for those in bfloat16 on some CPUs.
        with in_bfloat16(self.settings.body == "unet"):
            judged = self.network(augment(batch.images, generator))
        loss = cross_entropy(judged.classes.float(), batch.classes)
        loss = loss + 0.3 * cross_entropy(judged.styles.float(), batch.looks)
        loss = loss + 0.3 * cross_entropy(judged.colours.float(), batch.colours)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item()

    def save(self, folder: Path) -> None:
        """Write a checkpoint that ``resume`` continues from."""
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        save_checkpoint(folder, tensors | flatten_optimizer(self.optimizer), {**self.facts, "step": self.step})

    def resume(self, folder: Path) -> None:
        """Continue from the folder's checkpoint if it has one."""
        if not (found := load_checkpoint(folder)):
            return
        tensors, facts = found
        check_settings(facts, self.facts, folder)
        self.network.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        restore_optimizer(self.optimizer, tensors)
        self.step = int(facts["step"])  # type: ignore[call-overload]


def train_vision(run: VisionRun, folder: Path, steps: int, checkpoint_every: int = 200) -> SceneNetwork:
    """Train up to ``steps`` steps, resuming from ``folder``."""
    run.resume(folder)
    started, losses = time.time(), []
    while run.step < steps:
        losses.append(run.train_step(steps))
        if run.step % 50 == 0:
            log_row(
                folder,
                {"step": run.step, "loss": round(float(np.mean(losses)), 4), "seconds": round(time.time() - started)},
            )
            losses = []
        if run.step % checkpoint_every == 0 or run.step == steps:
            run.save(folder)
    return run.network.eval()
