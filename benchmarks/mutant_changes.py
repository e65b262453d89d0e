"""The small faults that ``benchmarks.mutants`` puts into a module's source, one at a time.

Changed are operators of comparison, arithmetic, logic and sign, numbers, booleans, and names that have an opposite
(``min`` and ``max``, ``any`` and ``all``, ...). Left alone is what computes nothing: messages and logging, type
annotations, decorators, ``__all__``, and keywords that only guard or save work.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

MODULE_LEVEL = "<module>"
OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.And: "and",
    ast.Or: "or",
    ast.USub: "-",
    ast.Not: "not",
    ast.Invert: "~",
}
_PAIRS = [("min", "max"), ("argmin", "argmax"), ("any", "all"), ("floor", "ceil")]  # builtins and methods of arrays
_LIBRARY_PAIRS = [("minimum", "maximum"), ("fmin", "fmax"), ("nanmin", "nanmax"), ("nanargmin", "nanargmax")]
_LIBRARY_PAIRS += [("logical_and", "logical_or"), ("ones", "zeros"), ("ones_like", "zeros_like"), ("triu", "tril")]
_LIBRARY_PAIRS += [("add", "subtract"), ("multiply", "divide")]
OPPOSITES = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
OF_LIBRARIES = OPPOSITES | {a: b for pair in _LIBRARY_PAIRS for a, b in (pair, pair[::-1])}
LIBRARIES = {"np", "numpy", "torch", "math"}
SIDES = {"left": "right", "right": "left"}  # of a search among sorted values
GUARDS = {"strict", "copy"}  # keywords: of zip, which refuses what no caller gives; of casts, which saves a copy
TELLING = {"log", "logger", "logging", "warnings", "print"}
TYPES = {"int", "float", "complex", "bool", "str", "bytes", "list", "dict", "tuple", "set"}


@dataclass(frozen=True, eq=False)
class Mutant:
    """One fault: where it is, in words that outlive moved lines, and ``apply``, which puts it into the tree."""

    function: str
    line: str
    change: str
    number: int  # of the line, from 1
    apply: Callable[[], None]

    @property
    def key(self) -> tuple[str, str, str]:
        """What a mutant is known by in ``mutants.toml``."""
        return self.function, self.line, self.change


class _Change(NamedTuple):
    number: int
    text: str
    apply: Callable[[], None]


Put = Callable[[ast.AST], None]


def mutants_of(source: str, tree: ast.Module) -> list[Mutant]:
    """Every mutant of a module, in the order of its source; ``tree`` is the source parsed, which ``apply`` changes.

    Where one line offers the same change more than once, the further ones are numbered.
    """
    lines = source.splitlines()
    found: list[Mutant] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    for function, change in _walk(tree, MODULE_LEVEL, lambda node: None):
        line = lines[change.number - 1].strip()
        seen[function, line, change.text] += 1
        again = seen[function, line, change.text]
        text = change.text if again == 1 else f"{change.text} ({again})"
        found.append(Mutant(function, line, text, change.number, change.apply))
    return sorted(found, key=lambda mutant: mutant.number)


def _walk(node: ast.AST, function: str, put: Put) -> Iterator[tuple[str, _Change]]:
    """Changes at a node and below it, each with the function it is in; ``put`` replaces the node in its parent."""
    if _computes_nothing(node):
        return
    number = _number(node)
    if number is not None:
        yield from ((function, change) for change in _other_numbers(node, number, put))
        return
    yield from ((function, change) for change in _changes(node, put))
    inside = function
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inside = node.name if function == MODULE_LEVEL else f"{function}.{node.name}"
    for child, put_child in _children(node):
        if not (isinstance(node, ast.Call) and child is node.func and _is_of_nothing(node)):
            yield from _walk(child, inside, put_child)


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, Put]]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        if field == "msg" and isinstance(node, ast.Assert):
            continue
        if isinstance(value, ast.AST):
            yield value, lambda new, field=field: setattr(node, field, new)
        elif isinstance(value, list):
            for at, item in enumerate(value):
                if isinstance(item, ast.AST):
                    yield item, lambda new, at=at, value=value: value.__setitem__(at, new)


def _computes_nothing(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise | ast.JoinedStr):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in GUARDS
    if isinstance(node, ast.Assign):
        return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)
    if isinstance(node, ast.If):
        return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    if isinstance(node, ast.Call):
        return _root(node.func) in TELLING
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):  # a union of types
        return _is_type(node.left) or _is_type(node.right)
    return False


def _is_of_nothing(node: ast.Call) -> bool:
    """Whether a call has a first argument of 0: no zeros are no ones."""
    return bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0


def _root(node: ast.AST) -> str | None:
    """The first name of a dotted one."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _is_type(node: ast.AST) -> bool:
    return (isinstance(node, ast.Constant) and node.value is None) or (isinstance(node, ast.Name) and node.id in TYPES)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _number(node: ast.AST) -> int | float | None:
    """The value of a number as it is written, its sign included."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    return None


def _other_numbers(node: ast.AST, value: int | float, put: Put) -> Iterator[_Change]:
    others = {0: [1], 1: [2, 0]}.get(value, [value + 1, -value])
    for other in dict.fromkeys(type(value)(other) for other in others):
        new = ast.copy_location(ast.Constant(other), node)
        yield _Change(node.lineno, f"{value} to {other}", lambda new=new: put(new))


def _changes(node: ast.AST, put: Put) -> Iterator[_Change]:
    """Changes of the node itself, none of what is below it."""
    if isinstance(node, ast.Compare):
        for at, (op, right) in enumerate(zip(node.ops, node.comparators, strict=True)):
            yield _operator(op, right.lineno, lambda new, at=at: node.ops.__setitem__(at, new))
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS and not _is_text(node):
        yield _operator(node.op, node.right.lineno, lambda new: setattr(node, "op", new))
    elif isinstance(node, ast.AugAssign) and type(node.op) in OPERATORS and not _is_text(node.value):
        yield _operator(node.op, node.lineno, lambda new: setattr(node, "op", new))
    elif isinstance(node, ast.BoolOp):
        yield _operator(node.op, node.values[1].lineno, lambda new: setattr(node, "op", new))
    elif isinstance(node, ast.UnaryOp) and type(node.op) in SYMBOLS:
        yield _Change(node.lineno, f"{SYMBOLS[type(node.op)]} dropped", lambda: put(node.operand))
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield _constant(node, not node.value)
    elif isinstance(node, ast.keyword) and node.arg == "side" and isinstance(node.value, ast.Constant):
        if node.value.value in SIDES:
            yield _constant(node.value, SIDES[str(node.value.value)])
    else:
        yield from _opposites(node)


def _operator(op: ast.AST, number: int, put: Put) -> _Change:
    other = OPERATORS[type(op)]
    return _Change(number, f"{SYMBOLS[type(op)]} to {SYMBOLS[other]}", lambda: put(other()))


def _constant(node: ast.Constant, other: Any) -> _Change:
    return _Change(node.lineno, f"{node.value} to {other}", lambda: setattr(node, "value", other))


def _opposites(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in OPPOSITES:
        yield _renamed(node, "id", OPPOSITES[node.id])
    elif isinstance(node, ast.Attribute) and _root(node.value) in LIBRARIES and node.attr in OF_LIBRARIES:
        yield _renamed(node, "attr", OF_LIBRARIES[node.attr])
    elif isinstance(node, ast.Call) and _has_opposite(node.func):
        yield _renamed(node.func, "attr", OPPOSITES[node.func.attr])


def _has_opposite(called: ast.expr) -> TypeGuard[ast.Attribute]:
    """Whether a method of an object is called that has an opposite; functions of libraries have theirs by name."""
    return isinstance(called, ast.Attribute) and called.attr in OPPOSITES and _root(called.value) not in LIBRARIES


def _renamed(node: ast.Name | ast.Attribute, field: str, other: str) -> _Change:
    number = node.end_lineno or node.lineno  # the end of a chain of calls, where the name itself is
    return _Change(number, f"{getattr(node, field)} to {other}", lambda: setattr(node, field, other))
