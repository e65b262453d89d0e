"""Editing: the page that asks for an edit, and the page of one that was made."""

from __future__ import annotations

import re
from typing import Any

from concept_atlas import AtlasError
from explorer.missing import Missing, close, image_of
from explorer.source import Source

SHOWN_EDITS = 24
PICTURES = {"before": "before", "after": "edited", "control": "random twin"}
# Field -> the letters it may have; what they mean is for the library to say.
TEXTS = {"prompt": 2000, "concept": 400, "instead_of": 400, "window": 40, "operation": 20, "block": 60, "region": 1100}
NUMBERS = {"strength": float, "feather": float, "seed": int, "controls": int}
PAINTED = re.compile(r"(|[a-z_]{1,20}|(box|cells):[0-9a-fx.,:]{1,1060})")


def edit_form(source: Source, image: str, concept: str, block: str) -> dict[str, Any]:
    """What the template shows. ``image``: a number of the study's, whose prompt and noise are taken; or nothing."""
    row = image_of(source, image) if image else None
    atlas = source.atlas
    return {
        "row": row,
        "kept": row is not None and bool(source.rows("images", ["prompt_id"], prompt_id=row["prompt_id"])),
        "concept": concept[: TEXTS["concept"]],
        "block": block,
        "blocks": list(dict.fromkeys(site.block for site in atlas.sites)),
        "windows": atlas.windows,
        "labels": source.kept("carried", lambda: _carried(source)),
        "looks": atlas.looks,
        "edits": [_line(row) for row in atlas.kept_edits[:SHOWN_EDITS]],
    }


def _carried(source: Source) -> list[str]:
    rows = source.arrow("concept_labels", ["label"], kind="trained", assigned=True)
    return sorted(set(rows["label"].to_pylist()))


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {"edit": row["edit"], "prompt": row["prompt"], "done": done(row), "window": row["window"]}


def done(part: dict[str, Any]) -> str:
    """What a part of an edit does, in a few words."""
    instead = f" instead of {part['instead_of']}" if part["instead_of"] else ""
    return f"{part['operation']} {part['concept']}{instead}"


def requested(given: Any) -> dict[str, Any]:
    """What ``Atlas.edit`` is given of a page's request. Raises ``AtlasError``, one sentence, for what is none.

    A region is a name, a box or painted cells: no part of a request becomes a file's name.
    """
    if not isinstance(given, dict) or (odd := sorted(map(str, set(given) - set(TEXTS) - set(NUMBERS)))):
        raise AtlasError(
            f"An edit has no {odd[0][:40]!r}." if isinstance(given, dict) else "An edit is a set of fields."
        )
    asked: dict[str, Any] = {}
    for name, longest in TEXTS.items():
        value = given.get(name) or ""
        if not isinstance(value, str) or len(value) > longest:
            raise AtlasError(f"{name} is a text of at most {longest} letters.")
        if value.strip():
            asked[name] = value.strip()
    for name, kind in NUMBERS.items():
        value = given.get(name)
        if value in (None, ""):
            continue
        try:
            asked[name] = kind(value)
        except (TypeError, ValueError, OverflowError):
            raise AtlasError(f"{name} is a number, and {str(value)[:40]!r} is none.") from None
    if not PAINTED.fullmatch(asked.get("region", "")):
        raise AtlasError("A region is a name, as in left, a box or painted cells.")
    return {"prompt": "", **asked}


def edited_page(source: Source, name: str) -> dict[str, Any]:
    """What the template shows of an edit that was kept. Raises ``Missing`` for one that is not there."""
    row = _row(source, name)
    return {
        "row": row,
        "pictures": PICTURES,
        "parts": [{**part, "done": done(part), "where": _where(part)} for part in (row, *row["more_parts"])],
        "scores": [(shown, row[f"score_{picture}"], row[f"placed_{picture}"]) for picture, shown in PICTURES.items()],
        "off": [(shown, row[f"off_distribution_{picture}"], row[f"off_downstream_{picture}"])
                for picture, shown in PICTURES.items() if picture != "before"],
        "changes": [(shown, row[f"{prefix}change_inside"], row[f"{prefix}change_outside"])
                    for shown, prefix in (("edited", ""), ("random twin", "control_"))],
    }  # fmt: skip


def _where(part: dict[str, Any]) -> str:
    region = str(part["region"])
    if not region.startswith("cells:"):
        return region
    _, size, digits = region.split(":")
    return f"{int(digits, 16).bit_count()} painted cells of {size}"


def _row(source: Source, name: str) -> dict[str, Any]:
    rows = {str(row["edit"]): row for row in source.atlas.kept_edits}
    if name not in rows:
        near = tuple((other, f"/edit/{other}") for other in close(name, rows)) if rows else ()
        raise Missing("There is no such edit beside this study.", near or (("make one", "/edit"),))
    return rows[name]


def edited_picture(source: Source, name: str, picture: str) -> bytes:
    """One PNG of an edit. Raises ``Missing`` for one that is not there, ``AtlasError`` for one that is damaged."""
    if picture not in PICTURES:
        raise Missing("An edit has the pictures before, after and control.", ((name, f"/edit/{name}"),))
    return source.atlas.kept_picture(str(_row(source, name)["edit"]), picture)
