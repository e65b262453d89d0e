"""Edits that were kept beside a study: by `concepts edit`, the explorer, or ``atlas.edit(..., keep=True)``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.declared_beside import EDITS, read_row
from storage.vouch import digest_of_bytes
from study.errors import StudyError

PICTURES = ("before", "after", "control")


def edits_beside(root: str | Path) -> Path:
    """The folder that they are in."""
    own = Path(root).resolve()
    return own.with_name(f"{own.name}-edits")


def kept_rows(root: str | Path) -> list[dict[str, Any]]:
    """Their rows, newest first, without those that are damaged or of another version."""
    parts = (edits_beside(root) / EDITS.name).glob("*.parquet")
    rows = [read_row(path, EDITS) for path in sorted(parts, key=lambda path: path.stat().st_mtime_ns, reverse=True)]
    return [row for row in rows if row is not None]


def kept_pictures(root: str | Path, name: str) -> dict[str, bytes]:
    """The PNGs before, after and under the control. Raises ``StudyError`` where they are not what was written."""
    folder = edits_beside(root)
    row = next((row for row in kept_rows(root) if row["edit"] == name), None)
    if row is None:
        raise StudyError(f"{folder} holds no edit {name!r}")
    found = {}
    for picture in PICTURES:
        path = folder / name / f"{picture}.png"
        try:
            found[picture] = path.read_bytes()
        except OSError as error:
            raise StudyError(f"{path} cannot be read ({error.strerror}): make the edit again") from error
        if digest_of_bytes(found[picture]) != row[f"{picture}_sha256"]:
            raise StudyError(f"{path} is not the picture that was written: make the edit again")
    return found
