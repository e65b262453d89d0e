"""Draws floors.svg, the picture of docs/architecture.md, from the contracts on imports that pyproject.toml holds.

python docs/images/floors.py > docs/images/floors.svg
"""

from __future__ import annotations

import sys
import tomllib
from html import escape
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
HOLDS = {
    "flows": "Prefect flows, the command line, servers",
    "concept_atlas": "the public face, for notebooks and scripts",
    "explorer": "web pages over a study",
    "tasks": "the work of every stage: one function a unit",
    "study": "what a study is: settings, stages, units, reading, publishing, revising",
    "diffusion": "the model, sampling, recording, editing",
    "sae": "sparse autoencoders",
    "vision": "tags, boxes, masks, judges",
    "concepts": "labels, layouts, effects: arithmetic",
    "figures": "pictures",
    "storage": "all bytes: activations, tables, records, digests, queries",
    "miniature": "a small model of a drawn world",
}
RULE = "A room imports from the floors below it, none of its own; flows start the explorer, which asks concept_atlas."
WIDTH, LEFT, RIGHT, FLOOR, GAP, TOP = 1000, 46, 190, 84, 12, 30
STYLE = """text { font-family: Helvetica, Arial, sans-serif; fill: #222 }
.room { fill: #f3f6fa; stroke: #4a6a8a; stroke-width: 1.3 }
.beside { fill: #faf5ec; stroke: #9a7a3a; stroke-width: 1.3 }
.name { font-size: 16px; font-weight: bold } .what { font-size: 11px; fill: #555 }
.number { font-size: 20px; fill: #999 } .note { font-size: 12px; fill: #8a3a3a }
.line { stroke: #8a3a3a; stroke-dasharray: 6 4; stroke-width: 1.3 }
.arrow { stroke: #777; stroke-width: 1.5; fill: none }"""

ARROW_HEAD = """<defs>
<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L10 5L0 10z" fill="#777"/></marker>
</defs>"""


def contracts(project: Path = PROJECT) -> dict[str, Any]:
    """The rooms of every floor, highest first; those that may not import Prefect; what stands beside, and on what."""
    settings = tomllib.loads(project.read_text(encoding="utf-8"))
    rooms = settings["tool"]["setuptools"]["packages"]
    rules = settings["tool"]["importlinter"]["contracts"]
    (layers,) = [rule["layers"] for rule in rules if rule["type"] == "layers"]
    floors = [[room.strip() for room in layer.replace("|", ":").split(":")] for layer in layers]
    forbidden = [rule for rule in rules if rule["type"] == "forbidden"]
    (prefect,) = [rule["source_modules"] for rule in forbidden if rule["forbidden_modules"] == ["prefect"]]
    inside = [room for floor in floors for room in floor]
    beside = {
        room: [
            r for r in inside if not any(room in f["source_modules"] and r in f["forbidden_modules"] for f in forbidden)
        ]
        for room in rooms
        if room not in inside
    }
    return {"floors": floors, "without_prefect": prefect, "beside": beside}


def picture(found: dict[str, Any]) -> str:
    """The drawing as SVG. Raises ``KeyError`` for a room of which ``HOLDS`` does not say what it holds."""
    floors, height = found["floors"], TOP + len(found["floors"]) * (FLOOR + GAP) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<style>{STYLE}</style>",
        ARROW_HEAD,
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text class="what" x="{LEFT}" y="18">{RULE}</text>',
    ]
    for index, rooms in enumerate(floors):
        parts += _floor(len(floors) - 1 - index, rooms, _top(index))
    parts += _prefect(floors, found["without_prefect"])
    for room, below in found["beside"].items():
        parts += _beside(room, [i for i, rooms in enumerate(floors) if set(rooms) <= set(below)])
    return "\n".join([*parts, "</svg>"]) + "\n"


def _top(index: int) -> int:
    return TOP + index * (FLOOR + GAP)


def _floor(number: int, rooms: list[str], top: int) -> list[str]:
    width = (WIDTH - LEFT - RIGHT - GAP * (len(rooms) - 1)) / len(rooms)
    parts = [f'<text class="number" x="14" y="{top + FLOOR / 2 + 7:.0f}">{number}</text>']
    for i, room in enumerate(rooms):
        parts += _room(room, "room", LEFT + i * (width + GAP), top, width, FLOOR)
    return parts


def _room(room: str, kind: str, x: float, y: float, width: float, height: float) -> list[str]:
    middle = x + width / 2
    lines = _wrapped(HOLDS[room], int(width / 6.4))
    first = y + height / 2 - 8 * len(lines) + 4
    words = [
        f'<text class="what" text-anchor="middle" x="{middle:.1f}" y="{first + 18 + 14 * i:.1f}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]
    return [
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6"/>',
        f'<text class="name" text-anchor="middle" x="{middle:.1f}" y="{first:.1f}">{escape(room)}/</text>',
        *words,
    ]


def _wrapped(text: str, most: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > most:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _prefect(floors: list[list[str]], without: list[str]) -> list[str]:
    """A line under the lowest floor that may import Prefect."""
    with_it = [i for i, rooms in enumerate(floors) if not set(rooms) & set(without)]
    y = _top(max(with_it) + 1) - GAP / 2
    return [
        f'<line class="line" x1="{LEFT}" x2="{WIDTH - 12}" y1="{y}" y2="{y}"/>',
        f'<text class="note" text-anchor="end" x="{WIDTH - 14}" y="{y - 8}">Prefect is imported</text>',
        f'<text class="note" text-anchor="end" x="{WIDTH - 14}" y="{y + 18}">no Prefect</text>',
    ]


def _beside(room: str, indices: list[int]) -> list[str]:
    """A room of no floor, with an arrow to those that it may import from."""
    x, top = WIDTH - RIGHT + 40, _top(min(indices))
    height = _top(max(indices)) + FLOOR - top
    middle = top + height / 2
    return [
        *_room(room, "beside", x, top, WIDTH - x - 12, height),
        f'<path class="arrow" marker-end="url(#head)" d="M{x} {middle:.1f}H{WIDTH - RIGHT + 4}"/>',
    ]


if __name__ == "__main__":
    sys.stdout.write(picture(contracts()))
