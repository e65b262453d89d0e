"""Pictures of a site: as they are stored, or smaller where a study's are large."""

from __future__ import annotations

import io

from PIL import Image

LARGE, WIDEST = 64_000, 512  # bytes, pixels


def smaller(png: bytes) -> tuple[str, bytes]:
    """The ending of the file and its bytes: the PNG itself, or beyond 64 kB a JPEG of at most 512 pixels a side."""
    if len(png) <= LARGE:
        return "png", png
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=85)
    return "jpg", buffer.getvalue()
