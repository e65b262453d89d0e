"""The study folder: which configuration filled it, refusing to mix two, and the settings it had before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from storage.atomic import write_atomic
from storage.errors import StorageError

EXECUTION_KEY = "run"  # how work is executed changes no result, so it may differ between runs of a study
ORDERED = ("prompts.splits",)  # mappings whose order says something: splits are dealt one after the other
REVISING = "revising"  # in study.yaml while a revision has not ended: the settings that changed
SHOWN, WIDTH = 5, 80
Differences = dict[str, tuple[Any, Any]]


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 (16 hex digits) of the configuration without its execution settings."""
    kept = {key: value for key, value in config.items() if key != EXECUTION_KEY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def open_study(
    root: str | Path,
    config: dict[str, Any],
    provenance: dict[str, Any],
    revisable: Callable[[dict[str, Any], dict[str, Any]], bool] | None = None,
) -> str:
    """Create ``study.yaml`` or check the one that is there. Returns the configuration's hash.

    Raises ``StorageError`` if the folder was filled under another configuration or with other model weights, naming
    ``concepts revise`` where ``revisable(old, new)`` says that it would help; or if a revision has not ended.
    """
    root, digest = Path(root), config_hash(config)
    path = root / "study.yaml"
    if not path.exists():
        _write(path, {"config_hash": digest, "config": config, **provenance})
        return digest
    known = read_study(root)
    refuse_other_weights(root, known, provenance)
    if differing := differences(known["config"], config):
        revise = revisable is not None and revisable(known["config"], config)
        remedy = "run `concepts revise` to give this study the new settings, or " if revise else ""
        raise StorageError(
            f"{root} holds a study with another configuration ({shown(differing)}): {remedy}"
            "choose another --root, or delete the folder"
        )
    refuse_changed_files(root, known, provenance)
    if known.get(REVISING):
        raise StorageError(f"{root}: a revision of this study was interrupted: run the same `concepts revise` again")
    return digest


def refuse_other_weights(root: str | Path, known: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Raise ``StorageError`` if the study's model had other weights than it has now."""
    if known.get("model_revision") != provenance.get("model_revision"):
        raise StorageError(
            f"{root} holds a study with another configuration (model weights: their digest changed): "
            "choose another --root, or delete the folder"
        )


def refuse_changed_files(root: str | Path, known: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Raise ``StorageError`` if a file that a setting names holds something else than when the study was made."""
    for field, digest in known.get("files", {}).items():
        if provenance.get("files", {}).get(field, digest) != digest:
            raise StorageError(
                f"{root}: the file that {field} names was changed since this study was made: restore it, or give the "
                "new one another name and run `concepts revise` with it"
            )


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


def begin_revision(root: str | Path, config: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Give the study another configuration; the former one joins ``history``.

    Until ``end_revision``, ``revising`` names the settings that changed.
    """
    known = read_study(root)
    former = {key: value for key, value in known.items() if key not in ("history", REVISING)}
    until = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "config_hash": config_hash(config),
        "config": config,
        **provenance,
        "history": [*known.get("history", []), {"until": until, **former}],
        REVISING: sorted({*known.get(REVISING, []), *differences(known["config"], config)}),
    }
    _write(Path(root) / "study.yaml", content)


def end_revision(root: str | Path) -> None:
    """Say that what the former configuration left behind has been cleared."""
    known = read_study(root)
    if known.pop(REVISING, None) is not None:
        _write(Path(root) / "study.yaml", known)


def _write(path: Path, content: dict[str, Any]) -> None:
    write_atomic(path, yaml.safe_dump(content, sort_keys=False).encode())


def differences(old: Any, new: Any, prefix: str = "") -> Differences:
    """Dotted keys whose values differ -> (old, new). Execution settings are left out."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new else {prefix.rstrip("."): (old, new)}
    found: Differences = {}
    if prefix.rstrip(".") in ORDERED and list(old) != list(new) and set(old) == set(new):
        found[prefix.rstrip(".")] = (list(old), list(new))
    for key in sorted(set(old) | set(new)):
        if prefix or key != EXECUTION_KEY:
            found |= differences(old.get(key), new.get(key), f"{prefix}{key}.")
    return found


def shown(differing: Differences, most: int = SHOWN) -> str:
    """The first differences as 'key: old -> new; ...', and how many more there are."""
    lines = [f"{key}: {_short(old)} -> {_short(new)}" for key, (old, new) in differing.items()]
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "; ".join(lines[:most] + more)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
