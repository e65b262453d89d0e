"""Choosing the backend that the settings name."""

from __future__ import annotations

from vision.mini import load_mini
from vision.settings import VisionSettings
from vision.types import Backend


def load_backend(settings: VisionSettings) -> Backend:
    """Load the models of ``settings.backend``. Raises ``VisionError`` naming what is missing."""
    if settings.backend == "mini":
        assert settings.mini is not None
        return load_mini(settings.mini)
    from vision.transformers_backend import load_transformers  # heavy: only when asked for

    return load_transformers(settings)
