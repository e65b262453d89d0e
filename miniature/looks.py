"""Global looks: five styles and two skies, each a change of the finished picture that leaves the masks as they are."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

SEPIA = np.array([1.02, 0.82, 0.56], np.float32)


def apply_look(rng: np.random.Generator, image: np.ndarray, look: str | None) -> np.ndarray:
    """uint8 [H, W, 3] in the style or under the sky named ``look``; None leaves the picture as drawn."""
    x = image.astype(np.float32)
    grey = x @ np.array([0.3, 0.59, 0.11], np.float32)
    if look == "sketch":
        edges = np.asarray(Image.fromarray(image).convert("L").filter(ImageFilter.FIND_EDGES), np.float32)
        x = np.repeat((0.25 * grey + 185 - 2.2 * edges)[..., None], 3, axis=2)
    elif look == "painting":
        x = np.asarray(Image.fromarray(image).filter(ImageFilter.ModeFilter(5)), np.float32)
        x = (x - x.mean()) * 1.35 + x.mean() + rng.normal(0, 9, image.shape[:2])[..., None]
    elif look == "night":
        x = x * np.array([0.26, 0.3, 0.5], np.float32) + np.array([0, 2, 22], np.float32)
    elif look == "sepia":
        x = grey[..., None] * SEPIA + np.array([12, 6, 0], np.float32)
    elif look == "mosaic":
        x = _tiles(x)
    elif look == "sunset":
        x = x * np.array([1.06, 0.74, 0.6], np.float32) + np.array([26, 8, 6], np.float32)
    elif look == "overcast":
        x = 0.5 * x + 0.5 * grey[..., None] * 0.84 + np.array([8, 10, 14], np.float32)
    return np.clip(x, 0, 255).astype(np.uint8)


def _tiles(x: np.ndarray, side: int = 4) -> np.ndarray:
    """Tiles of one colour each, with darker joints."""
    rows, columns = x.shape[0] // side, x.shape[1] // side
    means = x.reshape(rows, side, columns, side, 3).mean((1, 3))
    x = means.repeat(side, 0).repeat(side, 1)
    x[::side] *= 0.78
    x[:, ::side] *= 0.78
    return x
