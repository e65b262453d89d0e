"""What files contain, wherever they lie: one digest over a set of them, by the names that their reader knows them by.

Everything is hashed whole. A file is hashed once in a process for as long as it stays the same; the digests of those
over 64 MiB are kept between processes, too, in ``$XDG_CACHE_HOME/concept-atlas`` (``~/.cache/concept-atlas``), since
hashing a model of 5 GB at every start would cost ten seconds. Where that folder cannot be written they are hashed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.vouch import digest_of

KEPT_BYTES = 64 << 20
KEPT_FILES = 1000
TAIL_BYTES = 64 << 10

_known: dict[str, str] = {}
_lock = threading.Lock()


def contents_digest(files: Mapping[str, Path]) -> str:
    """``sha256:`` and 64 hex digits over names and contents, in the order of the names.

    Raises ``StorageError`` for a file that cannot be read.
    """
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(json.dumps([name, _digest(files[name])]).encode())
    return f"sha256:{digest.hexdigest()}"


def tails_digest(files: list[Path]) -> str:
    """The same over files' own names, sizes and last 64 KiB: for Parquet, whose footer says what its pages hold."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - TAIL_BYTES, 0))
            digest.update(json.dumps([path.name, size, hashlib.sha256(file.read()).hexdigest()]).encode())
    return f"sha256:{digest.hexdigest()}"


def _digest(path: Path) -> str:
    try:
        stat = path.stat()
        # The time of the last change of any kind, which no program sets at will, tells a copy made to look the same.
        stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        key = " ".join(map(str, (os.path.realpath(path), *stamp)))
        with _lock:
            if key not in _known and stat.st_size > KEPT_BYTES:
                _known.update(_kept())
            if key in _known:
                return _known[key]
        digest = digest_of(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror or error}): make it readable") from error
    with _lock:
        _known[key] = digest
        if stat.st_size > KEPT_BYTES:
            _keep(key, digest)
    return digest


def _place() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "concept-atlas" / "digests.json"


def _kept() -> dict[str, str]:
    try:
        digests = json.loads(_place().read_text(encoding="utf-8"))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home
        return {}
    return {k: v for k, v in digests.items() if isinstance(v, str)} if isinstance(digests, dict) else {}


def _keep(key: str, digest: str) -> None:
    kept = {**_kept(), key: digest}
    with suppress(StorageError, RuntimeError):  # only slower next time
        write_atomic(_place(), json.dumps(dict(list(kept.items())[-KEPT_FILES:]), indent=0).encode())
