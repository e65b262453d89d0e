"""YAML as people mean it: what a settings file may hold, read without surprises or refused in one sentence.

Values are resolved by YAML 1.2's core schema, not by PyYAML's 1.1: ``on`` and ``no`` are words, ``1:30`` is no number
of seconds, ``010`` no eight, and ``1e-3`` is a number. A key given twice, a list inside itself and the likes of the
"billion laughs" are refused.
"""

from __future__ import annotations

import codecs
import re
from typing import Any

import yaml

from storage.errors import StorageError

MOST_NODES = 100_000  # values a file may stand for, aliases followed: a vocabulary of some ten thousand words and room
MOST_BYTES = 8 << 20
PLAIN = "tag:yaml.org,2002:"
KINDS = {f"{PLAIN}{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "merge")}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)|0o[0-7]+|0x[0-9a-fA-F]+")
NUMBER = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*(_[0-9]+)*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


def parse_yaml(data: bytes | str, origin: str) -> Any:
    """The value of one YAML document. ``origin`` is what the error names. Raises ``StorageError``."""
    text = data if isinstance(data, str) else decoded(data, origin)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_graph(node, origin)
        return loader.construct_document(node)
    except RecursionError as error:
        raise StorageError(f"{origin} is nested too deeply to be settings: check its brackets") from error
    except yaml.YAMLError as error:
        raise StorageError(f"{origin} is not valid YAML ({_reason(error)}): correct that") from error


def decoded(data: bytes, origin: str) -> str:
    """UTF-8, or UTF-16 that says so by its byte order mark. Raises ``StorageError`` naming the line that is neither."""
    if len(data) > MOST_BYTES:
        raise StorageError(f"{origin} has {len(data)} bytes, which no settings need: give a YAML file")
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise StorageError(
            f"{origin} is not valid YAML (line {line} holds byte 0x{data[error.start]:02x}, which is not UTF-8): "
            "save the file as UTF-8"
        ) from error
    if "\0" in text:
        raise StorageError(f"{origin} is not valid YAML (it holds zero bytes): give a YAML file, saved as UTF-8")
    return text


class _Loader(yaml.SafeLoader):
    """The scalars of YAML 1.2, lists and mappings; no other tags."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        if node.tag not in KINDS:
            raise _problem(f"the tag {node.tag.replace(PLAIN, '!!')} has no meaning in settings", node)
        return super().construct_object(node, deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(node.value).replace("_", "")
    try:
        return int(text, 0)
    except ValueError as error:  # also more digits than Python converts
        raise _problem(f"{_short(text)} is no whole number that can be read", node) from error


def _number(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = str(node.value).replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    try:
        return float(text)
    except ValueError as error:
        raise _problem(f"{_short(text)} is not a number", node) from error


def _truth(loader: _Loader, node: yaml.ScalarNode) -> bool:
    text = str(node.value).lower()
    if text not in ("true", "false"):
        raise _problem(f"{_short(text)} is neither true nor false", node)
    return text == "true"


_Loader.add_implicit_resolver(f"{PLAIN}bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{PLAIN}int", re.compile(rf"^(?:{INTEGER.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{PLAIN}float", re.compile(rf"^(?:{NUMBER.pattern})$"), list("-+.0123456789"))
_Loader.add_implicit_resolver(f"{PLAIN}null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{PLAIN}merge", re.compile(r"^(?:<<)$"), ["<"])
_Loader.add_constructor(f"{PLAIN}int", _integer)
_Loader.add_constructor(f"{PLAIN}float", _number)
_Loader.add_constructor(f"{PLAIN}bool", _truth)


def _check_graph(node: yaml.Node, origin: str) -> None:
    """Refuse a value inside itself, a key twice, and what stands for more values than a settings file can mean."""
    counted: dict[int, int] = {}
    open_: set[int] = set()

    def count(node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_:
            raise _problem("the list or mapping that begins here contains itself", node)
        if id(node) not in counted:
            open_.add(id(node))
            counted[id(node)] = 1 + sum(map(count, _children(node)))
            open_.discard(id(node))
        return counted[id(node)]

    if (total := count(node)) > MOST_NODES:
        raise StorageError(f"{origin} stands for {total} values, aliases followed, which no settings need: write less")


def _children(node: Any) -> list[yaml.Node]:
    """The members of a list, or the values of a mapping, whose keys are checked: text, and none twice."""
    if not isinstance(node, yaml.MappingNode):
        return list(node.value)
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{PLAIN}str", f"{PLAIN}merge"):
            raise _problem(f"the key {_written(key)} is not text: put it in quotes", key)
        if key.value in first:
            raise _problem(f"{key.value!r} is given twice, first in line {first[key.value]}: keep one", key)
        first[key.value] = key.start_mark.line + 1
    return [value for _, value in node.value]


def _written(key: Any) -> str:
    return _short(key.value) if isinstance(key, yaml.ScalarNode) else f"(a {key.id})"


def _problem(text: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


def _reason(error: yaml.YAMLError) -> str:
    """What is wrong and in which line, in few words."""
    mark = getattr(error, "problem_mark", None)
    said = [getattr(error, "context", None), getattr(error, "problem", None) or getattr(error, "reason", None)]
    text = ", ".join(" ".join(str(part).split()) for part in said if part) or type(error).__name__
    return f"line {mark.line + 1}, column {mark.column + 1}: {text}" if mark else text


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:20]}... ({len(text)} characters)"
