"""A list of a model folder's files and their digests, for folders that we write: a weight file cut short is named.

Folders without a ``manifest.json`` (any other diffusers model) are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from diffusion.errors import DiffusionError

NAME, VERSION = "manifest.json", 1


def write_manifest(folder: Path, rebuild: str, facts: dict[str, Any]) -> None:
    """Record every file's SHA-256, the command that rebuilds the folder, and facts about how it was made."""
    files = {str(f.relative_to(folder)): _sha256(f) for f in sorted(folder.rglob("*")) if f.is_file()}
    content = {"format_version": VERSION, "rebuild": rebuild, **facts, "files": files}
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_manifest(folder: Path) -> None:
    """Raise ``DiffusionError`` naming the first file that is missing or is not the one that was written."""
    path = folder / NAME
    if not path.exists():
        return
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, rebuild, files = manifest["format_version"], manifest["rebuild"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DiffusionError(f"{path} is damaged ({error}): fetch or build the model again") from error
    if version != VERSION:
        raise DiffusionError(
            f"{path}: format_version is {version}, this code reads {VERSION}: rebuild with `{rebuild}`"
        )
    for name, digest in files.items():
        if not (folder / name).is_file():
            raise DiffusionError(f"{folder / name} is missing: rebuild it with `{rebuild}`")
        if _sha256(folder / name) != digest:
            raise DiffusionError(f"{folder / name} is cut short or changed: rebuild it with `{rebuild}`")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
