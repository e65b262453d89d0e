"""From a YAML file and ``--set`` to a plain mapping of settings; what they mean is ``study.config``'s.

By hand: of two ``--set`` that contradict each other OmegaConf and pydantic-settings take the last without a word, and
OmegaConf reads ``on`` as true, ``1:30`` as 90 and ``${...}`` as a reference.
"""

from __future__ import annotations

import math
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from storage.errors import StorageError
from storage.plain_yaml import MOST_BYTES, parse_yaml
from storage.text import without_secrets
from study.errors import StudyError

INT_LIMIT = 2**63  # what a table column, a seed and a tensor's size can hold
FREE = "vision.plugin"  # a plug-in's settings, which it checks itself
SECRET_NAME = re.compile(r"(.*[_-])?(password|secret|api_?key|(access|auth)_?token)", re.IGNORECASE)


def read_settings(path: Path, what: str = "configuration", such_as: str = "configs/mini.yaml") -> dict[str, Any]:
    """The mapping at the top of a YAML file. Raises ``StudyError``, which says what file is asked for."""
    try:
        mode = path.stat().st_mode
        # Every stage reads the file anew, and by then a pipe has run dry.
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise StudyError(f"{path} is not a file that can be read twice: write the settings to a YAML file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise StudyError(f"no {what} file {path}: give the path of a YAML file such as {such_as}") from error
    except OSError as error:
        raise StudyError(f"{path} cannot be read ({error.strerror}): give the path of a YAML file") from error
    raw = _value(data, str(path))
    if raw is None:
        raise StudyError(f"{path} holds no settings: give a YAML file such as {such_as}")
    if not isinstance(raw, dict):
        raise StudyError(f"{path} must hold a mapping of settings at its top level, not {kind_of(raw)}")
    return raw


def _value(data: bytes | str, origin: str) -> Any:
    try:
        return parse_yaml(data, origin)
    except StorageError as error:
        raise StudyError(str(error)) from error


def apply_overrides(raw: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set every ``dotted.key=value`` in ``raw``; values are YAML. Raises ``StudyError``."""
    given: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, value = _parsed(override)
        for other, text in given.items():
            if text != override and (key[: len(other)] == other or other[: len(key)] == key):
                raise StudyError(f"--set {shown(text)} and --set {shown(override)} set the same: keep one of them")
        given[key] = override
        for name, leaf in _leaves(value, ".".join(key)):
            _refuse_secret(name, leaf, "--set")
        _set(raw, key, value)


def _parsed(override: str) -> tuple[tuple[str, ...], Any]:
    dotted, separator, text = override.partition("=")
    key = tuple(part.strip() for part in dotted.split("."))
    if not separator or not all(key):
        raise StudyError(f"--set {shown(override)} is not of the form key.sub=value")
    if text.lstrip().startswith(("*", "@", "%", "&", "!", "`")):
        raise StudyError(
            f"--set {shown(override)}: YAML gives {text.lstrip()[0]!r} a meaning of its own: put the value in quotes, "
            f"as in --set \"{dotted}='{text.strip()}'\""
        )
    return key, _value(text, f"--set {shown(override)}")


def _set(raw: dict[str, Any], key: tuple[str, ...], value: Any) -> None:
    *parents, leaf = key
    node = raw
    for parent in parents:
        if node.get(parent) is None:  # not there, or a group without settings
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            raise StudyError(f"--set {'.'.join(key)}: {parent!r} holds {kind_of(node)}, not a group of settings")
    node[leaf] = value


def refuse_impossible(raw: dict[str, Any], origin: str) -> None:
    """Refuse values that no setting can have: NaN, infinities, integers beyond 64 bits, text with control characters.

    And passwords, which nobody would have shown. Raises ``StudyError``.
    """
    for key, value in _leaves(raw):
        _refuse_secret(key, value, origin)
        said = f"{origin}: {shown(key)} is {shown(value)}"
        if isinstance(value, float) and not math.isfinite(value):
            raise StudyError(f"{said}: give a finite number")
        if isinstance(value, int) and not -INT_LIMIT <= value < INT_LIMIT:
            raise StudyError(f"{said}, which 64 bits do not hold: give a smaller number")
        if isinstance(value, str) and not key.startswith(FREE) and any(map(_control, value)):
            raise StudyError(f"{said}, with control characters: remove them")


def _refuse_secret(key: str, value: Any, origin: str) -> None:
    """Settings are written into study.yaml, and shown in messages and in Prefect's UI: nothing secret is one.

    Raises ``StudyError``, which shows neither the value nor what a key has of it.
    """
    if not isinstance(value, str):
        return
    if without_secrets(value) != value:
        raise StudyError(
            f"{origin}: {shown(without_secrets(key))} holds a password or an access token, which study.yaml, logs and "
            "Prefect's UI would show: take it out, and give it where it is asked for, as in the variable HF_TOKEN"
        )
    if key.startswith(FREE) and SECRET_NAME.fullmatch(key.rsplit(".", 1)[-1]) and value != key.rsplit(".", 1)[-1]:
        raise StudyError(
            f"{origin}: {shown(key)} has the name of a secret, which study.yaml, logs and Prefect's UI would show: let "
            "the plug-in read it from an environment variable"
        )


def _control(character: str) -> bool:
    """A control character, half of a surrogate pair, or an end of line; joiners and wide spaces are part of words."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below a node with its dotted key; names of mappings, too, since they may be text of the user's."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield f"{key}.{name}".lstrip("."), name
            yield from _leaves(value, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _leaves(value, f"{key}.{number}")
    else:
        yield key, node


def kind_of(value: Any) -> str:
    """What a YAML value is, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "a group of settings", list: "a list", str: "text", int: "a number", float: "a number"}
    return kinds.get(type(value), type(value).__name__)


def shown(value: Any, most: int = 60) -> str:
    """The value as Python writes it, cut after ``most`` characters."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."
