"""Whether the labels that edits aim at can ever be found in an image under the configured backend and vocabulary."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from pathlib import Path

from vision.errors import VisionError
from vision.mini_config import PLAIN, read_config
from vision.settings import VisionSettings
from vision.vocabulary import normal, vocabulary_of

OBJECTS, STYLES = "interventions.objects", "interventions.styles"
ADD, DROP = "add it there, or drop the target", "drop the target"


def refuse_unreachable(settings: VisionSettings, objects: Sequence[str], styles: Sequence[str]) -> None:
    """Raise ``VisionError`` for a target that is blank, given twice, or can never become a label of a segment.

    Labels are compared as they are written: that is how tables and judges do. A plug-in's labels are its own affair.
    """
    for field, targets in ((OBJECTS, objects), (STYLES, styles)):
        _distinct(field, targets)
    if settings.backend == "mini":
        assert settings.mini is not None
        config = read_config(Path(settings.mini.path) / "config.json")
        known, looks = config["labels"], [style for style in config["styles"] if style != PLAIN]
        _among(OBJECTS, objects, known, {STYLES: looks}, "the network of vision.mini.path only knows", DROP)
        _among(STYLES, styles, looks, {OBJECTS: known}, "the network of vision.mini.path only knows", DROP)
    elif settings.backend == "transformers":
        assert settings.transformers is not None
        if settings.transformers.tagger_plugin:
            return
        origin = "vision.vocabulary_file" if settings.vocabulary_file else "vision.vocabulary"
        labels = vocabulary_of(settings).labels
        for field, targets in ((OBJECTS, objects), (STYLES, styles)):
            _among(field, targets, labels, {}, f"no segment can have a label that {origin} lacks; it has", ADD)


def _distinct(field: str, targets: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for target in targets:
        folded = normal(target).casefold()
        if not folded:
            raise VisionError(f"{field} has a blank entry: remove it")
        if folded in seen:
            raise VisionError(f"{field} has {seen[folded]!r} and {target!r}, which are one label: remove one of them")
        seen[folded] = target


def _among(
    field: str, targets: Sequence[str], known: Collection[str], other: dict[str, list[str]], because: str, remedy: str
) -> None:
    for target in targets:
        if target in known:
            continue
        for place, names in other.items():
            if target in names:
                raise VisionError(f"{field} has {target!r}, which belongs to {place}: move it there")
        raise VisionError(f"{field} has {target!r}: {because} {_some(known)}: {_meant(target, known) or remedy}")


def _meant(target: str, known: Collection[str]) -> str:
    """The label to take that differs in case, number or a letter, if there is one."""
    folded = {label.casefold(): label for label in known}
    near = difflib.get_close_matches(normal(target).casefold(), list(folded), n=1, cutoff=0.75)
    return f"write {folded[near[0]]!r}, as there" if near else ""


def _some(labels: Collection[str], most: int = 12) -> str:
    shown = list(labels)[:most]
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(shown) + more
