"""The learned judge of the scene world: one small network for the class and colour of each pixel and the global look.

Two bodies of different make share these heads, so that one judge can be checked by another: ``unet`` looks at three
scales, ``dilated`` stays at half resolution and looks further by spreading its kernels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vision.errors import VisionError
from vision.mini_config import FORMAT_VERSION, REBUILD, read_config
from vision.weights import refuse_not_finite

UNCOLOURED = "none"  # the colour of what has no colour word


class Judgement(NamedTuple):
    """Logits: ``classes`` [B, C, 64, 64], ``styles`` [B, S], ``colours`` [B, K, 64, 64]."""

    classes: Tensor
    styles: Tensor
    colours: Tensor


def _convolution(c_in: int, c_out: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(c_in, c_out, 3, stride, padding=dilation, dilation=dilation)
    return nn.Sequential(convolution, nn.GroupNorm(8, c_out), nn.SiLU())


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(_convolution(c_in, c_out), _convolution(c_out, c_out))


class UNetBody(nn.Module):
    """Three scales down and up again; ``summary`` is the mean of the deepest features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.summary = 4 * width
        self.down = nn.ModuleList([_block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width)])
        self.bottom = _block(4 * width, 4 * width)
        self.up = nn.ModuleList([_block(8 * width, 2 * width), _block(4 * width, width), _block(2 * width, width)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> pixel features [B, width, H, W], summary [B, 4 * width]."""
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        summary = x.mean((2, 3))
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], 1))
        return x, summary


class DilatedBody(nn.Module):
    """Residual layers at half resolution whose kernels reach up to 8 pixels there, joined to the edges at full."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.summary = 2 * width
        self.edges = _convolution(3, 16)
        self.first = _convolution(16, 2 * width, stride=2)
        self.layers = nn.ModuleList(
            [_convolution(2 * width, 2 * width, dilation=reach) for reach in (1, 2, 4, 8, 1, 2, 4, 1)]
        )
        self.last = _convolution(2 * width + 16, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> pixel features [B, width, H, W], summary [B, 2 * width]."""
        edges = self.edges(x)
        x = self.first(edges)
        for layer in self.layers:
            x = x + layer(x)
        wide = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.last(torch.cat([wide, edges], 1)), x.mean((2, 3))


BODIES: dict[str, type[UNetBody] | type[DilatedBody]] = {"unet": UNetBody, "dilated": DilatedBody}


class SceneNetwork(nn.Module):
    """Pixel classes, pixel colours and look of 64 x 64 scenes.

    ``labels`` are the pixel classes in channel order; ``styles`` start with "plain", ``colours`` with "none".
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        styles: tuple[str, ...],
        colours: tuple[str, ...] = (UNCOLOURED,),
        width: int = 24,
        body: str = "unet",
    ) -> None:
        super().__init__()
        self.labels, self.styles, self.colours = tuple(labels), tuple(styles), tuple(colours)
        self.width, self.body_name = width, body
        self.body: UNetBody | DilatedBody = BODIES[body](width)
        self.classes = nn.Conv2d(width, len(self.labels), 1)
        self.colour = nn.Conv2d(width, len(self.colours), 1)
        self.style = nn.Sequential(nn.Linear(self.body.summary + 6, 64), nn.SiLU(), nn.Linear(64, len(self.styles)))

    def forward(self, images: Tensor) -> Judgement:
        """images float [B, 3, 64, 64] in [0, 1] -> logits."""
        x, summary = self.body(images * 2 - 1)
        # A look is mostly a matter of colour statistics, which deep features of a small net wash out.
        statistics = torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)
        return Judgement(self.classes(x), self.style(torch.cat([summary, statistics], 1)), self.colour(x))

    def features(self, images: Tensor) -> Tensor:
        """images float [B, 3, 64, 64] in [0, 1] -> [B, F]: means of the deepest features and of the last ones."""
        x, summary = self.body(images * 2 - 1)
        return torch.cat([summary, x.mean((2, 3))], 1)

    def save(self, folder: str | Path) -> None:
        """Write config.json and fp16 model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "format_version": FORMAT_VERSION,
            "labels": self.labels,
            "styles": self.styles,
            "colours": self.colours,
            "width": self.width,
            "body": self.body_name,
        }
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> SceneNetwork:
        """Read a folder written by ``save``, as float32 in eval mode. Raises ``VisionError``."""
        folder = Path(folder)
        config = read_config(folder / "config.json")
        weights = folder / "model.safetensors"
        try:
            network = cls(
                tuple(config["labels"]),
                tuple(config["styles"]),
                tuple(config["colours"]),
                int(config["width"]),
                config["body"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise VisionError(
                f"{folder / 'config.json'} is damaged (no network has this width and body): {REBUILD}"
            ) from error
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
            network.load_state_dict(tensors)
        except FileNotFoundError as error:
            raise VisionError(f"{weights} is missing: {REBUILD}") from error
        except (SafetensorError, OSError) as error:
            raise VisionError(f"{weights} is damaged ({error}): {REBUILD}") from error
        except RuntimeError as error:  # torch lists the tensors a line each, after a heading
            reasons = "; ".join(line.strip() for line in str(error).splitlines()[1:])[:300]
            raise VisionError(f"{weights} is damaged or does not fit its config.json ({reasons}): {REBUILD}") from error
        refuse_not_finite(str(weights), tensors.items(), REBUILD)
        return network.eval()
