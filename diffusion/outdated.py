"""What diffusers' own pipeline puts right in the scheduler config of an outdated folder. Nothing heavy here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def corrections(config: Mapping[str, Any]) -> dict[str, Any]:
    """What diffusers' Stable Diffusion pipeline overrides in this scheduler config; absent values are DDIM's own."""
    clipped = config.get("clip_sample", True) is True
    offset = config.get("steps_offset", 0) != 1
    return ({"clip_sample": False} if clipped else {}) | ({"steps_offset": 1} if offset else {})


def is_corrected(path: str) -> bool:
    """Whether the scheduler of a local model folder is corrected; a config that cannot be read is its reader's to say.

    Studies of the first format sampled such a folder as its config has it.
    """
    try:
        config = json.loads((Path(path) / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and bool(corrections(config))
