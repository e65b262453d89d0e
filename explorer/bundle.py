"""Our scripts for browsers that open a folder: a module and those it imports as one classic script.

A page that is opened from a folder may load no module. What is read here is the JavaScript of this room alone: every
import is a line ``import { a, b } from "./name.js";`` and every export stands before ``function``, ``async function``
or ``const``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

IMPORT = re.compile(r'^import \{ (\w+(?:, \w+)*) \} from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const) (\w+))", re.MULTILINE)
OTHER = re.compile(r"^\s*(import|export)\b.*", re.MULTILINE)


def bundle(name: str, text_of: Callable[[str], str]) -> str:
    """A module and all that it imports, each after what it needs itself. ``text_of``: the text of a module by name.

    Raises ``ValueError`` for an import or export of another form, and for modules that import each other.
    """
    order: list[str] = []
    _after(name, text_of, order, ())
    parts = [_wrapped(one, text_of(one)) for one in order]
    return "".join(['"use strict";\n', "(() => {\n", *parts, "})();\n"])


def _after(name: str, text_of: Callable[[str], str], order: list[str], above: tuple[str, ...]) -> None:
    """Append a module to the order, behind those it imports."""
    if name in above:
        raise ValueError(f"{name}.js imports itself, by {', '.join(above)}")
    if name in order:
        return
    for _, needed in IMPORT.findall(text_of(name)):
        _after(needed, text_of, order, (*above, name))
    order.append(name)


def _wrapped(name: str, text: str) -> str:
    """The module as a function that is called at once and gives what the module exports."""
    exported = EXPORT.findall(text)
    text = IMPORT.sub(r"const { \1 } = of_\2;", EXPORT.sub("", text))
    if other := OTHER.search(text):
        raise ValueError(f"{name}.js: {other[0].strip()!r} is no import or export of the form that is read here")
    given = f"return {{ {', '.join(exported)} }};\n" if exported else ""
    return f"const of_{name} = (() => {{\n{text.rstrip()}\n{given}}})();\n"
