"""Backends and taggers that other installed packages offer, found by their entry points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

from vision.errors import VisionError

BACKENDS = "concept_atlas.vision"
TAGGERS = "concept_atlas.taggers"
HOW = "install the package that offers it (pip install PACKAGE); its pyproject.toml must name it in"
# Models that are in no package index and that transformers lacks: how to get them.
ELSEWHERE = {
    "ram": "RAM and RAM++ are in no package index: pip install git+https://github.com/xinyu1205/recognize-anything, "
    "and a small package of your own that wraps it (docs/vision.md)",
}


def load_plugin(group: str, name: str, field: str, own: Sequence[str]) -> Callable[..., Any]:
    """The callable that an installed package registered as ``name`` in ``group``.

    ``field`` and ``own`` (the names that need no plug-in) are for the error. Raises ``VisionError`` if no package
    offers the name, if two do, or if its import fails.
    """
    offered = entry_points(group=group)
    entries = {(entry.value, entry.dist.name if entry.dist else "?"): entry for entry in offered.select(name=name)}
    if not entries:
        raise VisionError(_unknown(group, name, field, sorted({*own, *offered.names})))
    if len(entries) > 1:
        packages = " and ".join(sorted(package for _, package in entries))
        raise VisionError(f"{field}: {packages} both offer {name!r} in [{group}]: uninstall one of them")
    (entry,) = entries.values()
    try:
        return entry.load()
    except Exception as error:  # whatever a foreign module does when it is imported
        raise VisionError(
            f"{field}: the plug-in {name!r} ({entry.value}) cannot be imported ({type(error).__name__}: {error}): "
            "repair or reinstall its package"
        ) from error


def _unknown(group: str, name: str, field: str, known: list[str]) -> str:
    remedy = ELSEWHERE.get(name.rstrip("+"), HOW)
    return (
        f"{field} names {name!r}, which nothing installed offers (known: {', '.join(known) or 'none'}): "
        f'{remedy} [project.entry-points."{group}"]'
    )
