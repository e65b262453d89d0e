"""Encoded image bytes of every mode become uint8 [H, W, 3]; bytes that are no image are refused."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from storage.images import decode_png, encode_png

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def png(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def raw_png(width: int, height: int, depth: int, colour_type: int, rows: list[bytes]) -> bytes:
    """A PNG by hand, for kinds that Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour_type, 0, 0, 0])
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda shape: (*shape, 3))))
def test_colours_are_kept_and_come_back(image):
    data = encode_png(image)
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and data == encode_png(image)
    found = decode_png(data)
    assert found.dtype == np.uint8 and np.array_equal(found, image)


@given(arrays(np.uint16, st.tuples(st.integers(1, 4), st.integers(1, 4))))
def test_grey_of_sixteen_bits_is_the_nearest_of_eight(values):
    """65535 / 255 = 257 is odd, so no value lies halfway between two."""
    for found in decode_png(png(Image.fromarray(values))).transpose(2, 0, 1):
        assert np.abs(found * 257.0 - values).max() <= 128


@pytest.mark.parametrize("grey", [0, 300])
def test_a_transparent_grey_of_sixteen_bits_is_white(grey):
    values = np.array([[7, grey, 65_535]], np.uint16)
    chunks = raw_png(3, 1, 16, 0, [values.astype(">u2").tobytes()])
    transparent = b"tRNS" + grey.to_bytes(2, "big")
    at = chunks.index(b"IDAT") - 4
    chunk = (2).to_bytes(4, "big") + transparent + zlib.crc32(transparent).to_bytes(4, "big")
    assert decode_png(chunks[:at] + chunk + chunks[at:])[0].tolist() == [[0] * 3, [255] * 3, [255] * 3]


def test_wider_integers_are_cut_off_at_sixteen_bits():
    """Pillow's 32-bit mode, which other formats than PNG have."""
    buffer = io.BytesIO()
    Image.fromarray(np.array([[-5, 0, 65_535, 70_000]], np.int32)).save(buffer, format="TIFF")
    assert decode_png(buffer.getvalue())[0, :, 1].tolist() == [0, 0, 255, 255]


def test_grey_fills_three_channels():
    grey = RGB[:, :, 0]
    assert np.array_equal(decode_png(png(Image.fromarray(grey))), np.stack([grey] * 3, -1))


def test_black_and_white():
    bits = RGB[:, :, 0] > 127
    assert np.array_equal(decode_png(png(Image.fromarray(bits)))[:, :, 1], np.where(bits, 255, 0))


def test_deep_grey_is_scaled_not_cut_off():
    values = np.array([[0, 128, 129, 255, 256], [257, 32767, 32768, 65406, 65535]], np.uint16)
    decoded = decode_png(png(Image.fromarray(values)))
    expected = np.floor(values / 65535 * 255 + 0.5).astype(np.uint8)
    assert decoded.dtype == np.uint8 and np.array_equal(decoded, np.stack([expected] * 3, -1))
    rows = [row.astype(">u2").tobytes() for row in values]
    assert np.array_equal(decode_png(raw_png(5, 2, 16, 0, rows)), decoded)


def test_deep_colour_keeps_its_high_byte():
    values = RNG.integers(0, 65536, (2, 3, 3)).astype(np.uint16)
    rows = [row.astype(">u2").tobytes() for row in values]
    assert np.abs(decode_png(raw_png(3, 2, 16, 2, rows)).astype(int) - values / 257).max() <= 1


def test_transparency_lies_on_white():
    alpha = RNG.integers(0, 256, (5, 7, 1), dtype=np.uint8)
    decoded = decode_png(png(Image.fromarray(np.concatenate([RGB, alpha], -1))))
    exact = RGB * (alpha / 255) + 255 * (1 - alpha / 255)
    assert decoded.shape == (5, 7, 3) and np.abs(decoded - exact).max() <= 1
    clear = np.concatenate([np.zeros_like(RGB), np.zeros((5, 7, 1), np.uint8)], -1)
    assert (decode_png(png(Image.fromarray(clear))) == 255).all()
    grey_alpha = np.concatenate([RGB[:, :, :1], alpha], -1)
    exact = grey_alpha[:, :, :1] * (alpha / 255) + 255 * (1 - alpha / 255)
    assert np.abs(decode_png(png(Image.fromarray(grey_alpha))) - exact).max() <= 1


def test_palettes_with_and_without_a_transparent_entry():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert decode_png(png(image)).tolist() == [[[255, 0, 0], [0, 0, 255]]]
    assert decode_png(png(image, transparency=1)).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_one_transparent_colour():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode_png(png(image, transparency=(4, 5, 6))).tolist() == [[[1, 2, 3], [255, 255, 255]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_single_pixel_of_every_mode(mode):
    decoded = decode_png(png(Image.new(mode, (1, 1))))
    assert decoded.shape == (1, 1, 3) and decoded.dtype == np.uint8


@pytest.mark.parametrize("format", ["JPEG", "BMP", "WEBP"])
def test_other_formats_decode_too(format):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), 100, np.uint8)).save(buffer, format=format)
    assert np.abs(decode_png(buffer.getvalue()).astype(int) - 100).max() <= 2


def damaged() -> dict[str, bytes]:
    whole = encode_png(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return {
        "empty": b"",
        "text": b"not an image",
        "cut": whole[: len(whole) // 2],
        "header": whole[:20],
        "flipped": whole[:60] + bytes([whole[60] ^ 255]) + whole[61:],
    }


@pytest.mark.parametrize("kind", damaged())
def test_bytes_that_are_no_whole_image_are_refused(kind):
    with pytest.raises(OSError):  # noqa: PT011 - each of Pillow's refusals has words of its own
        decode_png(damaged()[kind])
