"""LPIPS: how different two images look, by the optional package that carries its weights (Zhang et al. 2018)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vision.errors import VisionError
from vision.images import batches, check_images
from vision.types import Image

AT_ONCE = 16  # images in the network: more gain nothing


def check_lpips() -> None:
    """Raise ``VisionError`` if the package is missing."""
    if importlib.util.find_spec("lpips") is None:
        raise VisionError(
            "interventions.lpips asks for LPIPS: install it with `pip install 'concept-atlas[lpips]'`, or leave it out"
        )


class Perceptual:
    """LPIPS with one of its networks, whose features torchvision fetches when they are first used."""

    def __init__(self, net: str, device: str = "cpu") -> None:
        check_lpips()
        import lpips  # type: ignore[import-not-found]

        self.device = device
        self.network: Any = lpips.LPIPS(net=net, verbose=False).eval().to(device)

    @torch.inference_mode()
    def distances(self, images: Sequence[Image], originals: Sequence[Image]) -> list[float]:
        """Of each pair of images of one size, at least 0; 0 for equal images."""
        check_images([*images, *originals])
        pairs = list(zip(images, originals, strict=True))
        return [value for batch in batches(pairs, AT_ONCE) for value in self._of_batch(batch)]

    def _of_batch(self, pairs: Sequence[tuple[Image, Image]]) -> list[float]:
        after, before = (self._prepared([pair[i] for pair in pairs]) for i in (0, 1))
        return [float(value) for value in self.network(after, before).flatten()]

    def _prepared(self, images: Sequence[Image]) -> torch.Tensor:
        """float32 [B, 3, H, W] in [-1, 1], as LPIPS reads images."""
        pixels = torch.from_numpy(np.stack(images)).to(self.device).float()
        return pixels.permute(0, 3, 1, 2) / 127.5 - 1.0
