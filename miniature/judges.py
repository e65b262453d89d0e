"""What the two judges say: of drawn scenes, where they can be wrong, and of generated images, where they can differ.

Shape suffixes: I images, C classes of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from miniature.train_vision import COLOUR_NAMES
from miniature.world import LABELS, Scene
from vision.mini_config import PLAIN
from vision.mini_network import SceneNetwork

BATCH = 64


@dataclass(frozen=True)
class Verdict:
    """classes and colours uint8 [I, 64, 64] (indices of LABELS and COLOUR_NAMES); look of each image, None if plain."""

    classes: np.ndarray
    colours: np.ndarray
    looks: list[str | None]

    def mask(self, image: int, label: str) -> np.ndarray:
        """bool [64, 64]."""
        return self.classes[image] == LABELS.index(label)

    def colour(self, image: int, label: str) -> str | None:
        """The colour of most of an object's pixels, None where there are none."""
        mask = self.mask(image, label)
        if not mask.any():
            return None
        return COLOUR_NAMES[int(np.bincount(self.colours[image][mask], minlength=len(COLOUR_NAMES)).argmax())]


@torch.inference_mode()
def judge(network: SceneNetwork, images: np.ndarray) -> Verdict:
    """The network's verdict on images uint8 [I, 64, 64, 3]."""
    classes, colours, looks = [], [], []
    for i in range(0, len(images), BATCH):
        judged = network(torch.from_numpy(images[i : i + BATCH]).permute(0, 3, 1, 2).float() / 255)
        classes.append(judged.classes.argmax(1).to(torch.uint8).numpy())
        colours.append(judged.colours.argmax(1).to(torch.uint8).numpy())
        looks += [network.styles[int(s)] for s in judged.styles.argmax(1)]
    return Verdict(np.concatenate(classes), np.concatenate(colours), [None if s == PLAIN else s for s in looks])


def agreement(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """IoU of each label between two class maps [I, 64, 64], pooled over images; labels in neither are left out."""
    found = {}
    for index, label in enumerate(LABELS):
        union = int(((a == index) | (b == index)).sum())
        if union:
            found[label] = float(((a == index) & (b == index)).sum() / union)
    return found


def drawn_classes(scenes: list[Scene]) -> np.ndarray:
    """The truth in a judge's form: uint8 [I, 64, 64]."""
    found = np.zeros((len(scenes), 64, 64), np.uint8)
    for row, scene in enumerate(scenes):
        for label, mask in scene.masks.items():
            found[row][mask] = LABELS.index(label)
    return found
