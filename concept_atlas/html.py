"""Small pages for notebooks: facts in a table, images in rows. All text is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np
from PIL import Image

SHOWN = 96  # pixels of an image in a row


def facts_table(title: str, facts: Mapping[str, Any]) -> str:
    """A heading and a line for each fact."""
    left = "style='text-align:left'"
    rows = "".join(
        f"<tr><th {left}>{escape(str(name))}</th><td {left}>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def picture(image: np.ndarray, told: str, height: int = SHOWN) -> str:
    """One image, uint8 [H, W, 3], with what a pointer that rests on it is told; ``height`` in pixels of the page."""
    held = io.BytesIO()
    Image.fromarray(image).save(held, "PNG")
    data = base64.b64encode(held.getvalue()).decode()
    return (
        f"<img src='data:image/png;base64,{data}' title='{escape(told, quote=True)}' "
        f"style='height:{height}px;image-rendering:pixelated;margin:1px'>"
    )


def row_of(pictures: Iterable[str]) -> str:
    """Pictures side by side."""
    return f"<div>{''.join(pictures)}</div>"


def named_pictures(images: Mapping[str, np.ndarray], height: int) -> str:
    """Pictures side by side, each with its name below it."""
    cells = "".join(
        f"<td style='text-align:center'>{picture(image, name, height)}<br>{escape(name)}</td>"
        for name, image in images.items()
    )
    return f"<table><tr>{cells}</tr></table>"


def overlaid(image: np.ndarray, heat: np.ndarray, strongest: float) -> np.ndarray:
    """uint8 [H, W, 3]: the image, darker where float [rows, columns] is small against ``strongest``.

    The grid must divide the image, as it does in every study.
    """
    rows, columns = heat.shape
    height, width = image.shape[:2]
    scaled = np.clip(heat / strongest if strongest > 0 else heat, 0.0, 1.0)
    light = np.kron(0.25 + 0.75 * scaled, np.ones((height // rows, width // columns)))
    return (image * light[..., None]).astype(np.uint8)
