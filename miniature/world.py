"""The scene world: captioned 64 x 64 scenes with exact masks, each a function of one integer.

A scene is sky above one ground, one to three objects at random places, and on a third of the scenes a global
style. Captions read like a captioner's and never name a position, so that the layout has to come from the
diffusion model's noise, as in Stable Diffusion.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from miniature.captions import write_caption

SIZE = 64
SCALE = 4  # drawn at 256 px, box-downsampled: soft edges without a renderer
GROUNDS = ("grass", "sand", "snow", "water")
OBJECTS = ("house", "tree", "ball", "car", "boat", "cloud", "sun", "flower")
COLOURS = {
    "red": (214, 48, 49),
    "blue": (40, 86, 214),
    "yellow": (246, 208, 36),
    "purple": (134, 60, 190),
    "orange": (244, 126, 28),
    "white": (245, 245, 245),
}
STYLES = ("sketch", "painting", "night", "sepia")
LABELS = (*OBJECTS, *GROUNDS, "sky")
COLOURED = ("house", "ball", "car", "boat", "flower")
IN_SKY = ("cloud", "sun")
GROUND_RGB = {"grass": (96, 176, 72), "sand": (232, 206, 140), "snow": (236, 240, 248), "water": (48, 118, 190)}
SKY_RGB = (166, 214, 244)


@dataclass(frozen=True)
class Placed:
    """One drawn object: its name, colour word or None, centre and size in pixels of the finished image."""

    name: str
    colour: str | None
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Scene:
    """image uint8 [64, 64, 3]; masks bool [64, 64] of visible pixels by label; they partition the image."""

    image: np.ndarray
    caption: str
    masks: dict[str, np.ndarray]
    style: str | None
    ground: str
    objects: tuple[Placed, ...]


def make_scene(seed: int, objects: tuple[str, ...] | None = None) -> Scene:
    """Draw scene number ``seed``; ``objects`` fixes which objects it holds (ValueError on an unknown name)."""
    rng = np.random.default_rng((20261124, seed))
    if objects is None:
        count = int(rng.choice([1, 2, 3], p=[0.4, 0.45, 0.15]))
        objects = tuple(rng.permutation(OBJECTS)[:count].tolist())
    for name in objects:
        if name not in OBJECTS:
            raise ValueError(f"unknown object {name!r}: the world knows {', '.join(OBJECTS)}")
    # Boats are mostly on water: the world's one built-in correlation.
    ground = "water" if "boat" in objects and rng.random() < 0.8 else str(rng.choice(GROUNDS))
    style = str(rng.choice(STYLES)) if rng.random() < 1 / 3 else None
    horizon = rng.uniform(0.35, 0.6) * SIZE
    placed = _place(rng, objects, horizon)
    image, masks = _draw(rng, placed, ground, horizon)
    caption = write_caption(rng, [(p.name, p.colour) for p in placed], ground, style)
    return Scene(_apply_style(rng, image, style), caption, masks, style, ground, tuple(placed))


def _place(rng: np.random.Generator, objects: tuple[str, ...], horizon: float) -> list[Placed]:
    """Random places, tried a few times to keep objects apart; far things first so that near ones cover them."""
    placed: list[Placed] = []
    for name in objects:
        best, best_gap = None, -np.inf
        for _ in range(6):
            candidate = _candidate(rng, name, horizon)
            gap = min((np.hypot(candidate.x - p.x, candidate.y - p.y) for p in placed), default=np.inf)
            if gap > best_gap:
                best, best_gap = candidate, gap
        assert best is not None
        placed.append(best)
    return sorted(placed, key=lambda p: p.y + p.size / 2)


def _candidate(rng: np.random.Generator, name: str, horizon: float) -> Placed:
    size = rng.uniform(20, 32) if name not in IN_SKY else rng.uniform(15, 24)
    x = rng.uniform(0.12, 0.88) * SIZE
    y = rng.uniform(0.5, 0.9) * horizon if name in IN_SKY else rng.uniform(horizon + 2, SIZE - 2) - size / 2
    colour = str(rng.choice(list(COLOURS))) if name in COLOURED else None
    return Placed(name, colour, float(x), float(y), float(size))


def _draw(
    rng: np.random.Generator, placed: list[Placed], ground: str, horizon: float
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Paint colours and, in step, an index map of which label owns each pixel."""
    big = SIZE * SCALE
    canvas, owner = Image.new("RGB", (big, big), _jitter(rng, SKY_RGB)), Image.new("L", (big, big), LABELS.index("sky"))
    box = [0, horizon * SCALE, big, big]
    ImageDraw.Draw(canvas).rectangle(box, fill=_jitter(rng, GROUND_RGB[ground]))
    ImageDraw.Draw(owner).rectangle(box, fill=LABELS.index(ground))
    _texture(rng, ImageDraw.Draw(canvas), ground, horizon)
    for item in placed:
        _draw_object(rng, item, canvas, owner)
    image = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX))
    index = np.asarray(owner)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]
    return image, {name: index == i for i, name in enumerate(LABELS) if (index == i).any()}


def _jitter(rng: np.random.Generator, rgb: tuple[int, int, int], spread: int = 10) -> tuple[int, int, int]:
    r, g, b = (int(np.clip(v + rng.integers(-spread, spread + 1), 0, 255)) for v in rgb)
    return r, g, b


def _texture(rng: np.random.Generator, draw: ImageDraw.ImageDraw, ground: str, horizon: float) -> None:
    """Waves on water, blades on grass: flat colour alone would leave nothing to represent."""
    if ground not in ("water", "grass"):
        return
    tone = (92, 156, 216) if ground == "water" else (70, 148, 54)
    for _ in range(14):
        x, y = rng.uniform(0, SIZE) * SCALE, rng.uniform(horizon + 2, SIZE) * SCALE
        end = (x + 7 * SCALE, y) if ground == "water" else (x, y - 3 * SCALE)
        draw.line([(x, y), end], fill=tone, width=SCALE)


def _draw_object(rng: np.random.Generator, item: Placed, canvas: Image.Image, owner: Image.Image) -> None:
    label = LABELS.index(item.name)
    main = _jitter(rng, COLOURS[item.colour]) if item.colour else None

    def paint(shape: str, points: list[tuple[float, float]], rgb: tuple[int, int, int]) -> None:
        """Points are in units of the object's size around its centre."""
        at = [((item.x + px * item.size) * SCALE, (item.y + py * item.size) * SCALE) for px, py in points]
        for draw, fill in ((ImageDraw.Draw(canvas), rgb), (ImageDraw.Draw(owner), label)):
            getattr(draw, shape)(at, fill=fill)

    PAINTERS[item.name](paint, main)


Paint = Callable[[str, list[tuple[float, float]], tuple[int, int, int]], None]
Rgb = tuple[int, int, int]


def _house(paint: Paint, main: Rgb | None) -> None:
    paint("rectangle", [(-0.4, -0.1), (0.4, 0.5)], main or (200, 200, 200))
    paint("polygon", [(-0.5, -0.1), (0.0, -0.5), (0.5, -0.1)], (120, 60, 40))
    paint("rectangle", [(-0.09, 0.18), (0.09, 0.5)], (70, 42, 30))


def _tree(paint: Paint, main: Rgb | None) -> None:
    paint("rectangle", [(-0.09, 0.1), (0.09, 0.5)], (112, 74, 40))
    paint("ellipse", [(-0.38, -0.5), (0.38, 0.22)], (26, 104, 46))


def _ball(paint: Paint, main: Rgb | None) -> None:
    rgb = main or (200, 30, 30)
    paint("ellipse", [(-0.36, -0.22), (0.36, 0.5)], rgb)
    lighter = tuple(min(255, v + 70) for v in rgb)
    paint("ellipse", [(-0.2, -0.12), (0.02, 0.1)], lighter)  # type: ignore[arg-type]


def _car(paint: Paint, main: Rgb | None) -> None:
    rgb = main or (200, 30, 30)
    paint("polygon", [(-0.3, 0.12), (-0.18, -0.12), (0.2, -0.12), (0.32, 0.12)], rgb)
    paint("rectangle", [(-0.15, -0.06), (0.17, 0.1)], (190, 226, 240))
    paint("rectangle", [(-0.5, 0.1), (0.5, 0.36)], rgb)
    paint("ellipse", [(-0.4, 0.24), (-0.14, 0.5)], (30, 30, 34))
    paint("ellipse", [(0.14, 0.24), (0.4, 0.5)], (30, 30, 34))


def _boat(paint: Paint, main: Rgb | None) -> None:
    paint("polygon", [(-0.5, 0.2), (0.5, 0.2), (0.32, 0.5), (-0.32, 0.5)], (122, 72, 34))
    paint("rectangle", [(-0.03, -0.5), (0.03, 0.2)], (70, 50, 30))
    paint("polygon", [(0.06, -0.46), (0.06, 0.14), (0.44, 0.14)], main or (240, 240, 240))


def _cloud(paint: Paint, main: Rgb | None) -> None:
    for box in ([(-0.5, -0.08), (0.05, 0.3)], [(-0.25, -0.3), (0.25, 0.25)], [(0.0, -0.1), (0.5, 0.3)]):
        paint("ellipse", box, (252, 252, 254))


def _sun(paint: Paint, main: Rgb | None) -> None:
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        c, s = float(np.cos(angle)), float(np.sin(angle))
        paint("polygon", [(0.5 * c, 0.5 * s), (-0.08 * s, 0.08 * c), (0.08 * s, -0.08 * c)], (255, 190, 40))
    paint("ellipse", [(-0.32, -0.32), (0.32, 0.32)], (255, 216, 48))


def _flower(paint: Paint, main: Rgb | None) -> None:
    paint("rectangle", [(-0.05, 0.0), (0.05, 0.5)], (36, 120, 40))
    for angle in np.arange(0, 2 * np.pi, np.pi / 2.5):
        x, y = 0.2 * float(np.cos(angle)), 0.2 * float(np.sin(angle)) - 0.18
        paint("ellipse", [(x - 0.17, y - 0.17), (x + 0.17, y + 0.17)], main or (230, 80, 160))
    paint("ellipse", [(-0.12, -0.3), (0.12, -0.06)], (90, 50, 20))


PAINTERS: dict[str, Callable[[Paint, Rgb | None], None]] = {
    "house": _house,
    "tree": _tree,
    "ball": _ball,
    "car": _car,
    "boat": _boat,
    "cloud": _cloud,
    "sun": _sun,
    "flower": _flower,
}


def _apply_style(rng: np.random.Generator, image: np.ndarray, style: str | None) -> np.ndarray:
    """Global styles act on the finished picture; masks stay as they are."""
    x = image.astype(np.float32)
    grey = x @ np.array([0.3, 0.59, 0.11], np.float32)
    if style == "sketch":
        edges = np.asarray(Image.fromarray(image).convert("L").filter(ImageFilter.FIND_EDGES), np.float32)
        x = np.repeat((0.25 * grey + 185 - 2.2 * edges)[..., None], 3, axis=2)
    elif style == "painting":
        coarse = Image.fromarray(image).filter(ImageFilter.ModeFilter(5))
        x = np.asarray(coarse, np.float32)
        x = (x - x.mean()) * 1.35 + x.mean() + rng.normal(0, 9, image.shape[:2])[..., None]
    elif style == "night":
        x = x * np.array([0.26, 0.3, 0.5], np.float32) + np.array([0, 2, 22], np.float32)
    elif style == "sepia":
        x = grey[..., None] * np.array([1.02, 0.82, 0.56], np.float32) + np.array([12, 6, 0], np.float32)
    return np.clip(x, 0, 255).astype(np.uint8)
