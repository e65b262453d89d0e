"""Every message that docs/troubleshooting.md explains is one that the code can give, and no kind of error lacks one."""

import ast
import functools
import re
from pathlib import Path

import pytest

from storage import errors
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROOMS = ("flows", "tasks", "study", "storage", "diffusion", "sae", "vision", "concepts", "figures", "concept_atlas")
MESSAGES = [cell.replace("\\`", "`") for cell in re.findall(r"^\| `((?:[^`]|\\`)+)` \|", PAGE, re.M)]
FILLED = "…"


@functools.cache
def templates() -> dict[str, set[str]]:
    """Every text of the code, with a dot for what is filled in -> the names that it is handed to, as in StudyError."""
    found: dict[str, set[str]] = {}
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        within = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        within |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr | ast.Constant) and id(node) not in within and (text := _text(node)):
                found.setdefault(text, set())
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
            if (text := _text(call.args[0])) and isinstance(call.func, ast.Name):
                found.setdefault(text, set()).add(call.func.id)
    return found


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else FILLED for part in node.values)
    return ""


def givers(message: str) -> list[str]:
    """The texts of the code that the message can be of: its pieces stand in one of them, in order."""
    pieces = [re.escape(piece.strip()) for piece in message.split(FILLED) if piece.strip()]
    pattern = re.compile(r"[\s\S]*".join(pieces))
    return [text for text in templates() if len(text) >= 8 and pattern.search(text)]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_of_the_code(message):
    assert givers(message), f"no text of the code has the words of {message!r}"


def test_every_kind_of_error_is_explained():
    """Those that a module of ours raises by name with a sentence of its own."""
    families = {cls.__name__ for cls in _below(errors.AtlasError)} - INNER
    explained = {name for message in MESSAGES for text in givers(message) for name in templates()[text]}
    assert len(MESSAGES) > 60 and families - explained == set()


INNER = {  # caught by who raises them, or given a sentence of another family
    "ClaimLost",
    "NoStoreError",
    "NotFiniteError",
}


def _below(kind: type) -> set[type]:
    for room in ROOMS:
        for path in (ROOT / room).glob("errors.py"):
            __import__(f"{room}.{Path(path).stem}")
    return {below for each in kind.__subclasses__() for below in ({each} | _below(each))}
