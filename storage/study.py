"""The study folder: which configuration filled it, refusing to mix two, and the settings it had before."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from storage.atomic import write_atomic
from storage.errors import StorageError
from storage.formats import FIRST, KEY, STUDY, format_of
from storage.records import read_record, write_record
from storage.vouch import digest_of_bytes

EXECUTION_KEY = "run"  # how work is executed changes no result, so it may differ between runs of a study
ORDERED = ("prompts.splits",)  # mappings whose order says something: splits are dealt one after the other
REVISING = "revising"  # in study.yaml while a revision has not ended: the settings that changed
SEAL = "sha256"  # of all that follows its line
COPY = ("study", "settings")  # the record that holds a copy of study.yaml
DAMAGED = "run `concepts repair` on the study"
SHOWN, WIDTH = 5, 80
FASTER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # absent where PyYAML was built without libyaml
SHORT = 16384  # bytes; twenty thousand levels are safe, and none is written in less than a byte
Differences = dict[str, tuple[Any, Any]]
Added = Mapping[str, Any]  # dotted setting -> the value under which code that did not know it has worked


def config_hash(config: dict[str, Any], added: Added = MappingProxyType({})) -> str:
    """SHA-256 (16 hex digits) of the configuration without its execution settings.

    An added setting is left out while it has its legacy value: folders filled before it was there keep their hash.
    """
    kept = {key: value for key, value in without_legacy(config, added).items() if key != EXECUTION_KEY}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def create_study(
    root: str | Path, config: dict[str, Any], provenance: dict[str, Any], added: Added = MappingProxyType({})
) -> None:
    """Write ``study.yaml``: from here on the folder is a study."""
    content = {KEY: STUDY, "config_hash": config_hash(config, added), "config": config, **provenance}
    _write(Path(root) / "study.yaml", content)


def check_study(
    root: str | Path,
    config: dict[str, Any],
    revisable: Callable[[dict[str, Any], dict[str, Any]], bool] | None = None,
    added: Added = MappingProxyType({}),
) -> bool:
    """Whether the folder holds a study, which these settings may go on with. Writes nothing.

    Raises ``StorageError`` if the folder was filled under another configuration, naming ``concepts revise`` where
    ``revisable(old, new)`` says that it would help; or if a revision has not ended.
    """
    if not has_study(root):
        return False
    known = read_study(root)
    if differing := differences(with_legacy(known["config"], added), config):
        revise = revisable is not None and revisable(known["config"], config)
        remedy = "run `concepts revise` to give this study the new settings, or " if revise else ""
        raise StorageError(
            f"{root} holds a study with another configuration ({shown(differing)}): {remedy}choose another --root"
        )
    if known.get(REVISING):
        raise StorageError(f"{root}: a revision of this study was interrupted: run the same `concepts revise` again")
    return True


def read_study(root: str | Path) -> dict[str, Any]:
    """The contents of ``study.yaml``. Raises ``StorageError`` if the folder is not a study or is damaged."""
    path = Path(root) / "study.yaml"
    try:
        data = path.read_bytes()
        content = copy.deepcopy(_parsed(data))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"{root} is not a study folder (no study.yaml): give the --root of a run") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror}): make it readable") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise StorageError(f"{path} is damaged: {DAMAGED}") from error
    if not is_sealed(data):
        raise StorageError(f"{path} is damaged (its checksum is not its own): {DAMAGED}")
    version = format_of(content.get(KEY), STUDY, path) if isinstance(content, dict) else FIRST
    if version > FIRST and not data.startswith(SEAL.encode()):
        raise StorageError(f"{path} is damaged (it lacks its checksum): {DAMAGED}")
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise StorageError(f"{path} is damaged (no 'config'): {DAMAGED}")
    content.pop(SEAL, None)
    return content


@functools.lru_cache(maxsize=8)
def _parsed(data: bytes) -> Any:
    """What the bytes of a ``study.yaml`` say: a command asks a dozen times, and YAML is read slowly.

    libyaml reads it eight times as fast, but thousands of brackets inside each other end the process instead of raising
    an error: it is given what bears its own checksum and is too short to hold so many.
    """
    whole = data.startswith(SEAL.encode()) and is_sealed(data)
    loader = FASTER if whole and len(data) <= SHORT else yaml.SafeLoader
    return yaml.load(data.decode(), loader)


def kept_copy(root: str | Path) -> bytes | None:
    """What ``study.yaml`` holds, byte for byte, as its copy among the records has it; None without a whole copy."""
    text = (read_record(root, *COPY) or {}).get("text")
    return text.encode() if isinstance(text, str) and is_sealed(text.encode()) else None


def keep_copy(root: str | Path) -> None:
    """Keep a copy of ``study.yaml`` among the records: nothing else could tell what a damaged one said."""
    text = (Path(root) / "study.yaml").read_text(encoding="utf-8")
    write_record(root, *COPY, {"text": text}, "")


def restore_study(root: str | Path) -> None:
    """Put the copy in the place of a damaged ``study.yaml``. Raises ``StorageError`` if there is none."""
    copied = kept_copy(root)
    if copied is None:
        raise StorageError(f"{root} has no whole copy of its study.yaml")
    write_atomic(Path(root) / "study.yaml", copied)


def is_sealed(data: bytes) -> bool:
    """Whether the bytes of a ``study.yaml`` are those that were written, as far as its first line tells."""
    first, _, rest = data.partition(b"\n")
    return not first.startswith(SEAL.encode()) or first == f"{SEAL}: {digest_of_bytes(rest)}".encode()


def has_study(root: str | Path) -> bool:
    """Whether the folder holds a study at all."""
    return (Path(root) / "study.yaml").exists()


def amend_study(root: str | Path, more: dict[str, Any]) -> None:
    """Add to what ``study.yaml`` says besides the settings, or replace it."""
    _write(Path(root) / "study.yaml", {**read_study(root), KEY: STUDY, **more})


def with_legacy(config: dict[str, Any], added: Added) -> dict[str, Any]:
    """The configuration with the added settings that it lacks, at their legacy values; a group it lacks stays away."""
    filled = copy.deepcopy(config)
    for key, legacy in added.items():
        group, leaf = _group_of(filled, key)
        if group is not None:
            group.setdefault(leaf, legacy)
    return filled


def without_legacy(config: dict[str, Any], added: Added) -> dict[str, Any]:
    """The configuration without the added settings that have their legacy value."""
    kept = copy.deepcopy(config)
    for key, legacy in added.items():
        group, leaf = _group_of(kept, key)
        if group is not None and leaf in group and group[leaf] == legacy:
            del group[leaf]
    return kept


def _group_of(config: Any, key: str) -> tuple[dict[str, Any] | None, str]:
    *parents, leaf = key.split(".")
    for parent in parents:
        config = config.get(parent) if isinstance(config, dict) else None
    return (config if isinstance(config, dict) else None), leaf


def begin_revision(
    root: str | Path, config: dict[str, Any], provenance: dict[str, Any], changed: list[str], digest: str
) -> None:
    """Give the study another configuration, of hash ``digest``; the former one joins ``history``.

    Until ``end_revision``, ``revising`` names what ``changed``.
    """
    known = read_study(root)
    former = {key: value for key, value in known.items() if key not in ("history", REVISING)}
    until = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        KEY: STUDY,
        "config_hash": digest,
        "config": config,
        **provenance,
        "history": [*known.get("history", []), {"until": until, **former}],
        REVISING: sorted({*known.get(REVISING, []), *changed}),
    }
    _write(Path(root) / "study.yaml", content)


def end_revision(root: str | Path) -> None:
    """Say that what the former configuration left behind has been cleared."""
    known = read_study(root)
    if known.pop(REVISING, None) is not None:
        _write(Path(root) / "study.yaml", known)


def _write(path: Path, content: dict[str, Any]) -> None:
    """With the digest of all the rest as the first line."""
    text = yaml.safe_dump(content, sort_keys=False).encode()
    write_atomic(path, f"{SEAL}: {digest_of_bytes(text)}\n".encode() + text)
    keep_copy(path.parent)


def differences(old: Any, new: Any, prefix: str = "") -> Differences:
    """Dotted keys whose values differ -> (old, new). Execution settings are left out."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return {} if old == new or (old != old and new != new) else {prefix.rstrip("."): (old, new)}
    differing: Differences = {}
    if prefix.rstrip(".") in ORDERED and list(old) != list(new) and set(old) == set(new):
        differing[prefix.rstrip(".")] = (list(old), list(new))
    for key in sorted(set(old) | set(new)):
        if prefix or key != EXECUTION_KEY:
            differing |= differences(old.get(key), new.get(key), f"{prefix}{key}.")
    return differing


def shown(differing: Differences, most: int = SHOWN) -> str:
    """The first differences as 'key: old -> new; ...', and how many more there are."""
    lines = [f"{key}: {_short(old)} -> {_short(new)}" for key, (old, new) in differing.items()]
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "; ".join(lines[:most] + more)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
