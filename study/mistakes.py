"""A failed validation in one sentence: which key, what it is, what it should be, and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from study.settings_file import kind_of, shown

EXPECTED = {  # pydantic's error types, without their suffixes, in words
    "int": "a whole number",
    "float": "a number",
    "string": "text: put it in quotes",
    "bool": "true or false",
    "tuple": "a list such as [a, b]",
    "list": "a list such as [a, b]",
    "dict": "a group, a name and a value on each line",
    "model": "a group of settings, a name and a value on each line",
}
FIRST = ("extra_forbidden",)  # a misspelt key explains the missing one of the right name


def one_sentence(error: ValidationError, origin: str, top: type[BaseModel]) -> str:
    """The problem to put right first. ``origin`` is the file; ``top`` the model that was validated."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] not in FIRST)
    more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{origin}: {_said(problems[0], top)}{more}"


def _said(problem: Any, top: type[BaseModel]) -> str:
    location, kind = problem["loc"], problem["type"]
    key = ".".join(str(part) for part in location)
    if kind == "extra_forbidden":
        return f"unknown key {key!r}; {_meant(location, top)}"
    if kind == "missing" and isinstance(location[-1], int):
        return f"'{'.'.join(map(str, location[:-1]))}' lacks an entry: it must have {location[-1] + 1} or more"
    if kind == "missing":
        return f"{key!r} is missing: add it"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    return f"{key!r} is {shown(problem['input'])}: {_expected(problem)}"


def _expected(problem: Any) -> str:
    kind, value = problem["type"], problem["input"]
    if kind == "literal_error":
        near = difflib.get_close_matches(str(value), _choices(problem["ctx"]["expected"]), n=1)
        return f"it must be {problem['ctx']['expected']}" + (f"; did you mean {near[0]!r}?" if near else "")
    wanted = EXPECTED.get(kind.split("_")[0])
    if wanted is None or not kind.endswith(("_type", "_parsing", "_from_float")):
        said = problem["msg"].replace("Input ", "it ")
        return said[0].lower() + said[1:]
    if value is None:
        return f"it must be {wanted}; to leave it out, drop the whole line"
    if isinstance(value, str) and wanted.endswith("number"):
        return f"it must be {wanted}, not text"
    if isinstance(value, float) and value.is_integer():
        return f"it must be {wanted}: write {int(value)}"
    if isinstance(value, float):
        return f"it must be {wanted}, not a fraction"
    return f"it must be {wanted}, not {kind_of(value)}" if ":" not in wanted else f"it must be {wanted}"


def _choices(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]


def _meant(location: tuple[Any, ...], top: type[BaseModel]) -> str:
    """The nearest key of the same group, else the groups that have a key of this name, else all keys of the group."""
    name, valid = str(location[-1]), sorted(_model_at(location[:-1], top).model_fields)
    near = difflib.get_close_matches(name.lower(), valid, n=1, cutoff=0.5)
    if near and near[0] != name:
        sure = difflib.SequenceMatcher(None, name.lower(), near[0]).ratio() > 0.75
        if sure or not _elsewhere(name, top):
            return f"did you mean {near[0]!r}?"
    if places := _elsewhere(name, top):
        return f"did you mean {' or '.join(map(repr, places))}?"
    return f"valid keys here: {', '.join(valid)}"


def _elsewhere(name: str, top: type[BaseModel]) -> list[str]:
    return [key for key in dotted_keys(top) if key.rsplit(".", 1)[-1] == name][:3]


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every setting below a model, groups and their members."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        if (below := _group(field.annotation)) is not None:
            yield from dotted_keys(below, f"{prefix}{name}.")


def _model_at(location: tuple[Any, ...], top: type[BaseModel]) -> type[BaseModel]:
    model = top
    for part in (part for part in location if isinstance(part, str)):  # an entry's number leads nowhere further
        below = _group(model.model_fields[part].annotation)
        assert below is not None, f"{part} is no group of settings"
        model = below
    return model


def _group(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
