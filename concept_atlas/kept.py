"""Edits that were kept beside a study: by `concepts edit`, the explorer, or ``atlas.edit(..., keep=True)``."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from storage.declared_beside import EDITS, read_row
from storage.vouch import digest_of_bytes
from study.errors import StudyError

PICTURES = ("before", "after", "control")
KEPT_ROWS = 1024  # that are not read again; each is a few kilobytes


def edits_beside(root: str | Path) -> Path:
    """The folder that they are in."""
    own = Path(root).resolve()
    return own.with_name(f"{own.name}-edits")


def kept_rows(root: str | Path) -> list[dict[str, Any]]:
    """Their rows, newest first, without those that are damaged or of another version."""
    parts = [(path, path.stat().st_mtime_ns) for path in (edits_beside(root) / EDITS.name).glob("*.parquet")]
    rows = []
    for path, changed in sorted(parts, key=lambda part: part[1], reverse=True):
        with suppress(StudyError):
            rows.append(dict(_read(path, changed)))
    return rows


@lru_cache(KEPT_ROWS)
def _read(path: Path, changed: int) -> dict[str, Any]:
    """The row of a part, read once for each time that it was written. Raises ``StudyError`` for one that is damaged."""
    row = read_row(path, EDITS)
    if row is None:
        raise StudyError(f"{path} is not the row that was written: make the edit again")
    return row


def kept_picture(root: str | Path, name: str, picture: str) -> bytes:
    """One PNG of an edit: before, after or control. Raises ``StudyError`` where it is not what was written."""
    if picture not in PICTURES:
        raise StudyError(f"an edit has the pictures {', '.join(PICTURES)}, and not {picture!r}")
    folder = edits_beside(root)
    row = next((row for row in kept_rows(root) if row["edit"] == name), None)
    if row is None:
        raise StudyError(f"{folder} holds no edit {name!r}")
    path = folder / name / f"{picture}.png"
    try:
        found = path.read_bytes()
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}): make the edit again") from error
    if digest_of_bytes(found) != row[f"{picture}_sha256"]:
        raise StudyError(f"{path} is not the picture that was written: make the edit again")
    return found


def kept_pictures(root: str | Path, name: str) -> dict[str, bytes]:
    """All three. Raises as ``kept_picture`` does."""
    return {picture: kept_picture(root, name, picture) for picture in PICTURES}
