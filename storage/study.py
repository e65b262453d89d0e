"""The study folder: which configuration filled it, and refusing to mix two."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from storage.atomic import write_atomic
from storage.errors import StorageError

EXECUTION_KEY = "run"  # how work is executed changes no result, so it may differ between runs of a study


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 (16 hex digits) of the configuration without its execution settings."""
    kept = {key: value for key, value in config.items() if key != EXECUTION_KEY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def open_study(root: str | Path, config: dict[str, Any], provenance: dict[str, Any]) -> str:
    """Create ``study.yaml`` or check the one that is there. Returns the configuration's hash.

    Raises ``StorageError`` if the folder was filled under another configuration or with other model weights.
    """
    root, digest = Path(root), config_hash(config)
    path = root / "study.yaml"
    if not path.exists():
        text = yaml.safe_dump({"config_hash": digest, "config": config, **provenance}, sort_keys=False)
        write_atomic(path, text.encode())
        return digest
    known = read_study(root)
    differing = _differences(known["config"], config)
    if known.get("model_revision") != provenance.get("model_revision"):
        differing.append("model weights (their digest changed)")
    if differing:
        shown = "; ".join(differing[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise StorageError(
            f"{root} holds a study with another configuration ({shown}): choose another --root, or delete the folder"
        )
    return digest


def read_study(root: str | Path) -> dict[str, Any]:
    """The contents of ``study.yaml``. Raises ``StorageError`` if the folder is not a study or is damaged."""
    path = Path(root) / "study.yaml"
    try:
        found = yaml.safe_load(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{root} is not a study folder (no study.yaml): give the --root of a run") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} is damaged: restore it, or start in another --root") from error
    if not isinstance(found, dict) or "config" not in found:
        raise StorageError(f"{path} is damaged (no 'config'): restore it, or start in another --root")
    return found


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Dotted keys whose values differ, as 'key: old -> new'."""
    if isinstance(old, dict) and isinstance(new, dict):
        found: list[str] = []
        for key in sorted(set(old) | set(new)):
            if not prefix and key == EXECUTION_KEY:
                continue
            found += _differences(old.get(key), new.get(key), f"{prefix}{key}.")
        return found
    return [] if old == new else [f"{prefix.rstrip('.')}: {old!r} -> {new!r}"]
