"""LPIPS is asked as it wants to be, and missing it is one sentence. The package is optional: a stand-in is read."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch

from vision import perceptual
from vision.errors import VisionError
from vision.perceptual import Perceptual, check_lpips


class Stand(torch.nn.Module):
    """Mean absolute difference of what it is given, [B, 1, 1, 1] as LPIPS answers."""

    made = ()
    given = ()

    def __init__(self, **asked):
        super().__init__()
        Stand.made = (*Stand.made, asked)

    def forward(self, one, other):
        Stand.given = (one, other)
        return (one - other).abs().mean((1, 2, 3), keepdim=True)


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("lpips")
    module.__spec__, module.LPIPS = ModuleSpec("lpips", None), Stand
    monkeypatch.setitem(sys.modules, "lpips", module)


def test_images_are_read_from_minus_one_to_one_in_pairs(package, monkeypatch):
    monkeypatch.setattr(perceptual, "AT_ONCE", 2)
    black, white = np.zeros((8, 6, 3), np.uint8), np.full((8, 6, 3), 255, np.uint8)
    red = black.copy()
    red[..., 0] = 255
    found = Perceptual("vgg").distances([black, white, red], [white, white, black])
    assert found == pytest.approx([2.0, 0.0, 2 / 3])
    assert Stand.made[-1] == {"net": "vgg", "verbose": False}
    one, other = Stand.given  # the last batch: red against black, channels first
    assert one.shape == (1, 3, 8, 6) and one[0, 0].unique().tolist() == [1.0]
    assert one[0, 1].unique().tolist() == other.unique().tolist() == [-1.0]


def test_no_images_are_no_distances(package):
    assert Perceptual("alex").distances([], []) == []


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.delitem(sys.modules, "lpips", raising=False)
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: None)
    for ask in (check_lpips, lambda: Perceptual("alex")):
        with pytest.raises(VisionError, match=r"install it with `pip install 'concept-atlas\[lpips\]'`"):
            ask()
