"""The learned segmenter of the scene world: one small U-Net for pixel classes and the global style."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vision.errors import VisionError

FORMAT_VERSION = 1
PLAIN = "plain"


def _block(c_in: int, c_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in ((c_in, c_out), (c_out, c_out)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(8, b), nn.SiLU()]
    return nn.Sequential(*layers)


class SceneNetwork(nn.Module):
    """Pixel classes and style of 64 x 64 scenes.

    ``labels`` are the pixel classes in channel order; ``styles`` start with "plain".
    """

    def __init__(self, labels: tuple[str, ...], styles: tuple[str, ...], width: int = 24) -> None:
        super().__init__()
        self.labels, self.styles, self.width = tuple(labels), tuple(styles), width
        self.down = nn.ModuleList([_block(3, width), _block(width, 2 * width), _block(2 * width, 4 * width)])
        self.bottom = _block(4 * width, 4 * width)
        self.up = nn.ModuleList([_block(8 * width, 2 * width), _block(4 * width, width), _block(2 * width, width)])
        self.classes = nn.Conv2d(width, len(self.labels), 1)
        self.style = nn.Sequential(nn.Linear(4 * width + 6, 64), nn.SiLU(), nn.Linear(64, len(self.styles)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images float [B, 3, 64, 64] in [0, 1] -> class logits [B, C, 64, 64], style logits [B, S]."""
        x, skips = images * 2 - 1, []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        # Style is mostly a matter of colour statistics, which deep features of a small net wash out.
        colour = torch.cat([images.mean((2, 3)), images.std((2, 3))], 1)
        style = self.style(torch.cat([x.mean((2, 3)), colour], 1))
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skip], 1))
        return self.classes(x), style

    def save(self, folder: str | Path) -> None:
        """Write config.json and fp16 model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"format_version": FORMAT_VERSION, "labels": self.labels, "styles": self.styles, "width": self.width}
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> SceneNetwork:
        """Read a folder written by ``save``, as float32 in eval mode. Raises ``VisionError``."""
        folder = Path(folder)
        config = _read_config(folder / "config.json")
        network = cls(tuple(config["labels"]), tuple(config["styles"]), int(config["width"]))
        weights = folder / "model.safetensors"
        try:
            network.load_state_dict({k: v.float() for k, v in load_file(weights).items()})
        except FileNotFoundError as error:
            raise VisionError(f"{weights} is missing: rebuild it with `python -m miniature.train vision`") from error
        except (SafetensorError, RuntimeError) as error:
            raise VisionError(
                f"{weights} is damaged or does not fit its config.json: "
                "rebuild it with `python -m miniature.train vision`"
            ) from error
        return network.eval()


def _read_config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise VisionError(f"{path} is missing: set vision.mini.path to a folder written by `python -m miniature.train`")
    config = json.loads(path.read_text())
    if config.get("format_version") != FORMAT_VERSION:
        raise VisionError(
            f"{path}: format_version is {config.get('format_version')}, this code reads {FORMAT_VERSION}: "
            "rebuild it with `python -m miniature.train vision`"
        )
    return config
