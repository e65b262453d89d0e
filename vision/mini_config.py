"""What the config.json of a scene network's folder says: its labels and looks. Nothing heavy here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vision.errors import VisionError

FORMAT_VERSION = 2
PLAIN = "plain"  # the look of a picture without one
REBUILD = "rebuild it with `python -m miniature.train`"


def read_config(path: Path) -> dict[str, Any]:
    """The contents of a config.json. Raises ``VisionError`` if it is missing, damaged or of another version."""
    if not path.exists():
        raise VisionError(f"{path} is missing: set vision.mini.path to a folder written by `python -m miniature.train`")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise VisionError(f"{path} is damaged ({error}): {REBUILD}") from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION:
        raise VisionError(f"{path}: format_version is {version}, this code reads {FORMAT_VERSION}: {REBUILD}")
    for field in ("labels", "styles", "colours"):
        names = config.get(field)
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise VisionError(f"{path} is damaged ({field} is not a list of names): {REBUILD}")
    return config
