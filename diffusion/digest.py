"""What identifies the weights of a model, told without loading them or any library that could."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from diffusion.errors import DiffusionError
from diffusion.manifest import check_manifest
from diffusion.settings import ModelSettings


def check_folder(path: str) -> None:
    """Raise ``DiffusionError`` for a local path that is no folder, or whose files are not its manifest's."""
    if not path.startswith((".", "/")):
        return  # a hub id
    if not Path(path).is_dir():
        raise DiffusionError(f"model.path {path} is not a folder: give a diffusers folder or a hub id")
    check_manifest(Path(path))


def weights_digest(settings: ModelSettings) -> str:
    """What identifies the weights: a hash of a local folder's files, or hub id and revision.

    Files over 64 MiB enter by name and size alone: hashing 5 GB at each start would cost a minute.
    """
    check_folder(settings.path)
    folder = Path(settings.path)
    if not folder.is_dir():
        return f"{settings.path}@{settings.revision or 'main'}"
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        size = file.stat().st_size
        digest.update(json.dumps([str(file.relative_to(folder)), size]).encode())
        if size <= 64 << 20:
            digest.update(file.read_bytes())
    return f"sha256:{digest.hexdigest()[:16]}"
