"""The commit file of a checkpoint: it names the step and the digest of each tensor file, and vouches for itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae.errors import SAEError


def commit_bytes(facts: Mapping[str, Any]) -> bytes:
    """What to write: the facts and their digest."""
    return json.dumps({**facts, "sha256": _own_digest(facts)}).encode()


def read_commit(path: Path) -> dict[str, Any]:
    """What a commit file says. Raises ``OSError``, or ``ValueError`` if it is not what was written."""
    data = path.read_bytes()
    facts: dict[str, Any] = json.loads(data)
    if not isinstance(facts, dict) or data != json.dumps(facts).encode():
        raise ValueError(f"{path.name} is not as it was written")
    told = facts.pop("sha256", None)
    # Checkpoints of an earlier version, which an interrupted training may have left, had neither digest.
    if ("files" in facts or told is not None) and told != _own_digest(facts):
        raise ValueError(f"the checksum of {path.name} is not its own")
    return facts


def checked_tensors(path: Path, digest: str | None) -> bytes:
    """The bytes of a tensor file. Raises ``OSError``, or ``SAEError`` if they are not those of the digest."""
    data = path.read_bytes()
    if digest is not None and hashlib.sha256(data).hexdigest() != digest:
        raise SAEError(f"the checksum of {path.name} is not the committed one")
    return data


def _own_digest(facts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
