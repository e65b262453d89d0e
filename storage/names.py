"""The one rule for names that become parts of paths, and for the folder that a study may be made in."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from storage.errors import StorageError

MOST_BYTES = 100  # two of them and a stage's own words make a file's name, of which file systems allow 255
MARKS = "_-.+',()&#! "
RULE = (
    "it becomes part of file names: give 1 to 100 bytes of letters, digits, spaces and any of _ - . + ' , ( ) & # !, "
    "beginning with a letter, a digit or _ and ending with none of space and dot"
)
FOUND_ANYWHERE = ("lost+found",)  # on a fresh disk; hidden files are other programs' too


def refuse_name(name: str, what: str) -> None:
    """Raise ``StorageError`` if ``name`` could lead out of its folder, hide there or be no file's name somewhere."""
    fits = 0 < len(name.encode(errors="replace")) <= MOST_BYTES
    known = all(character in MARKS or unicodedata.category(character)[0] in "LMN" for character in name)
    if not (fits and known and _begins(name[0]) and name[-1] not in " ."):
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        raise StorageError(f"{what} {shown!r} cannot be a name ({RULE})")


def refuse_names(names: Iterable[str], what: str) -> None:
    """The same for several, of which no two may be one where upper and lower case count as equal."""
    names = list(names)
    for name in names:
        refuse_name(name, what)
    once = Counter(unicodedata.normalize("NFC", name).casefold() for name in names)
    if twice := [name for name in names if once[unicodedata.normalize("NFC", name).casefold()] > 1]:
        raise StorageError(
            f"{what} {' and '.join(map(repr, twice))} would be one file where upper and lower case are the same: "
            "rename one of them"
        )


def _begins(character: str) -> bool:
    return character == "_" or unicodedata.category(character)[0] in "LN"


def refuse_root(root: str | Path) -> None:
    """Raise ``StorageError`` if no study may be made in ``root``, or be there.

    It may be where there is nothing yet, in an empty folder, and where it is already.
    """
    text = str(root)
    if not text.strip() or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise StorageError(f"--root {text!r} is no folder's name: give the study's folder, as in runs/mini")
    if re.match(r"[A-Za-z][\w+.-]+:/", text):  # a path has made one slash of two; a letter alone is a drive
        raise StorageError(f"--root {text}: a study's folder is a local one, as in runs/mini")
    path = Path(root)
    if path.exists() and not path.is_dir():
        raise StorageError(f"--root {text} is a file: give the study's folder, as in runs/mini")
    if not (path / "study.yaml").exists():
        _refuse_new(path)


def _refuse_new(path: Path) -> None:
    try:
        entries = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
    except OSError as error:
        raise StorageError(f"--root {path} cannot be read ({error.strerror}): choose another --root") from error
    others = [name for name in entries if not name.startswith(".") and name not in FOUND_ANYWHERE]
    if {"done", "tables"} & set(others):
        raise StorageError(f"{path} holds a study's results but no study.yaml: put it back, or choose another --root")
    if others:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        raise StorageError(
            f"{path} is not empty ({shown}) and holds no study: give a folder of its own, as in runs/mini"
        )
    for above in path.resolve().parents:
        if (above / "study.yaml").exists():
            raise StorageError(f"{path} lies inside the study {above}: choose a --root beside it")
