"""Encoded images: PNG out; of what comes in, every mode becomes three channels of eight bits."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

WHITE = 255
THUMBNAIL_BYTES = 75_000  # a third more as base64, as a page holds it: 100 kB
THUMBNAIL_WIDTH = 1024
DEEP = 65_535  # the largest value of 16 bits: 257 times that of 8


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a uint8 [H, W, 3] image."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def thumbnail(image: np.ndarray) -> tuple[str, bytes]:
    """The format ("png" or "jpeg") and the bytes, at most ``THUMBNAIL_BYTES``, of a uint8 [H, W, 3] image.

    As it is where it is small enough; else no wider than ``THUMBNAIL_WIDTH``, and smaller until it fits.
    """
    if image.shape[1] <= THUMBNAIL_WIDTH and len(data := encode_png(image)) <= THUMBNAIL_BYTES:
        return "png", data
    width, whole = min(image.shape[1], THUMBNAIL_WIDTH), Image.fromarray(image)
    while True:
        height = max(round(image.shape[0] * width / image.shape[1]), 1)
        buffer = io.BytesIO()
        whole.resize((width, height), Image.Resampling.LANCZOS).save(buffer, format="JPEG", quality=85)
        if buffer.tell() <= THUMBNAIL_BYTES or width == 1:
            return "jpeg", buffer.getvalue()
        width = max(width * 3 // 4, 1)


def decode_png(data: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of encoded image bytes of any mode: transparency on white, 16-bit grey scaled to 8 bits.

    Raises ``OSError`` for bytes that are no whole image.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.load()
    except (SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:  # Pillow's other refusals
        raise OSError(str(error)) from error
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        shown = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return np.asarray(image.convert("RGB"))


def _deep_grey(image: Image.Image) -> np.ndarray:
    """Grey of 16 bits, which Pillow's own conversion would cut off at 255 instead of scaling."""
    grey = np.asarray(image).astype(np.int64).clip(0, DEEP)
    scaled = ((grey + 128) // 257).astype(np.uint8)
    if "transparency" in image.info:
        scaled[grey == image.info["transparency"]] = WHITE
    return np.repeat(scaled[:, :, None], 3, axis=2)
