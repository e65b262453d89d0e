"""The folder of an exported site: whole under its name, or not there; its size counted while it is written."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from concept_atlas import AtlasError

NOTE = "exported-site.txt"  # in every exported site, by which it is known


class Folder:
    """Files below a folder, at most ``most`` bytes together."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.size, self._most = path, 0, most
        self._made: set[Path] = set()

    def write(self, name: str, data: bytes) -> None:
        """A file of that name below. Raises ``AtlasError`` if the site grows beyond what was allowed."""
        self.size += len(data)
        if self.size > self._most:
            raise AtlasError(
                f"the site would be larger than {self._most / 1e6:.0f} MB: ask for fewer pages with --concepts, "
                "--images and --labels, or allow more with --megabytes"
            )
        path = self.path / name
        if path.parent not in self._made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._made.add(path.parent)
        path.write_bytes(data)


@contextmanager
def new_folder(out: Path, replace: bool, megabytes: int) -> Iterator[Folder]:
    """A folder beside ``out`` that takes its place when the block has ended well, and is removed when it has not.

    Raises ``AtlasError`` where ``out`` is taken: by anything but an empty folder or, to ``replace``, an exported site.
    """
    refuse_taken(out, replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    _sweep(out)
    scratch = _beside(out)
    scratch.mkdir()
    try:
        yield Folder(scratch, megabytes * 1_000_000)
        refuse_taken(out, replace)  # much may have happened meanwhile
        _put(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def refuse_taken(out: Path, replace: bool) -> None:
    """Raises ``AtlasError`` where a site may not be put."""
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise AtlasError(f"{out} is no folder: name one that is empty or does not exist yet")
    if not any(out.iterdir()):
        return
    if not (out / NOTE).is_file():
        raise AtlasError(f"{out} holds other files: name a folder that is empty or does not exist yet")
    if not replace:
        raise AtlasError(f"{out} holds a site that was exported before: --replace puts the new one in its place")


def _put(scratch: Path, out: Path) -> None:
    """Give the site its name; what had it is removed once the new one stands there."""
    if not out.exists():
        scratch.rename(out)
        return
    former = _beside(out)
    out.rename(former)
    scratch.rename(out)
    shutil.rmtree(former)


def _sweep(out: Path) -> None:
    """Remove what exports to ``out`` left beside it that were killed on this machine."""
    name = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{8}}\.(\d+)\.tmp")
    for path in out.parent.iterdir():
        if (found := name.fullmatch(path.name)) and not _runs(int(found[1])):
            shutil.rmtree(path, ignore_errors=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # of another user, or no number of a process: not ours to tell
    return True


def _beside(out: Path) -> Path:
    """A name that nobody has: as the study's own scratch files are called, so that `concepts verify` knows it."""
    return out.with_name(f".{out.name}.{secrets.token_hex(4)}.{os.getpid()}.tmp")
