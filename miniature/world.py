"""The scene world: captioned 64 x 64 scenes with exact masks, each a function of one integer and a world file.

A scene is sky above one ground and one to three objects at random places, under a global look on some. Captions read
like a captioner's and never name a position, so that the layout has to come from the diffusion model's noise, as in
Stable Diffusion; a world file with ``relations: true`` states one relation where there are two objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from miniature.captions import write_caption
from miniature.looks import apply_look
from miniature.painters import COLOURED, COLOURS, PAINTERS, Point, Rgb
from miniature.settings import GROUNDS, OBJECTS, SKIES, STYLES, World, default_world

SIZE = 64
SCALE = 4  # drawn at 256 px, box-downsampled: soft edges without a renderer
LABELS = (*OBJECTS, *GROUNDS, "sky")
LOOKS = (*STYLES, *SKIES)
IN_SKY = ("cloud", "sun", "bird", "balloon", "kite")
PARENTS = {
    "dog": "animal",
    "cat": "animal",
    "bird": "animal",
    "car": "vehicle",
    "boat": "vehicle",
    "tree": "plant",
    "flower": "plant",
    "ball": "toy",
    "balloon": "toy",
    "kite": "toy",
}  # the hierarchy: a detector of the parent should fire for each child
GROUND_RGB: dict[str, Rgb] = {
    "grass": (96, 176, 72),
    "sand": (232, 206, 140),
    "snow": (236, 240, 248),
    "water": (48, 118, 190),
    "road": (112, 112, 118),
}
SKY_RGB: Rgb = (166, 214, 244)


@dataclass(frozen=True)
class Placed:
    """One drawn object: its name, colour word or None, centre and size in pixels of the finished image.

    ``whole_px`` counts the pixels it would show with nothing in front, ``visible_px`` those it shows.
    """

    name: str
    colour: str | None
    x: float
    y: float
    size: float
    whole_px: int = 0
    visible_px: int = 0


@dataclass(frozen=True)
class Scene:
    """image uint8 [64, 64, 3]; masks bool [64, 64] of visible pixels by label; they partition the image."""

    image: np.ndarray
    caption: str
    masks: dict[str, np.ndarray]
    look: str | None
    ground: str
    horizon: float
    objects: tuple[Placed, ...]

    @property
    def style(self) -> str | None:
        """The look, where it is a style."""
        return self.look if self.look in STYLES else None

    @property
    def sky(self) -> str:
        """The sky's state: clear, or the look where it is a sky."""
        return self.look if self.look in SKIES else "clear"


def make_scene(seed: int, objects: tuple[str, ...] | None = None, world: World | None = None) -> Scene:
    """Draw scene number ``seed``; ``objects`` fixes which objects it holds (ValueError on an unknown name)."""
    world, rng = world or default_world(), np.random.default_rng((20261125, seed))
    if objects is None:
        count = 1 + int(rng.choice(len(world.count), p=world.count))
        objects = tuple(_draw_names(rng, world.objects, count))
    for name in objects:
        if name not in OBJECTS:
            raise ValueError(f"unknown object {name!r}: the world knows {', '.join(OBJECTS)}")
    ground, look = _ground(rng, objects, world), _look(rng, world)
    horizon = rng.uniform(0.35, 0.6) * SIZE
    placed = _place(rng, objects, horizon, world)
    image, masks, placed = _draw(rng, placed, ground, horizon)
    relation = _relation(rng, placed) if world.relations else None
    named = [(p.name, p.colour) for p in placed]
    caption = write_caption(rng, named, ground, look, world.caption_colour, relation)
    return Scene(apply_look(rng, image, look), caption, masks, look, ground, horizon, tuple(placed))


def _draw_names(rng: np.random.Generator, weights: dict[str, float], count: int = 1) -> list[str]:
    shares = np.array(list(weights.values())) / sum(weights.values())
    return [str(name) for name in rng.choice(list(weights), size=count, replace=False, p=shares)]


def _ground(rng: np.random.Generator, objects: tuple[str, ...], world: World) -> str:
    for preference in world.prefers:
        if preference.object in objects and rng.random() < preference.probability:
            return preference.ground
    return _draw_names(rng, world.grounds)[0]


def _look(rng: np.random.Generator, world: World) -> str | None:
    if rng.random() < world.styled:
        return _draw_names(rng, world.styles)[0]
    return _draw_names(rng, world.skies)[0] if rng.random() < world.lit else None


def _place(rng: np.random.Generator, objects: tuple[str, ...], horizon: float, world: World) -> list[Placed]:
    """Random places, mostly apart, sometimes one before another; far things first so that near ones cover them."""
    placed: list[Placed] = []
    for name in objects:
        tries = [_candidate(rng, name, horizon, world) for _ in range(6)]
        gaps = [min((np.hypot(c.x - p.x, c.y - p.y) for p in placed), default=0.0) for c in tries]
        near = rng.random() < world.near
        wanted = [abs(gap - 0.5 * c.size) if near else -gap for gap, c in zip(gaps, tries, strict=True)]
        placed.append(tries[int(np.argmin(wanted))])
    return sorted(placed, key=lambda p: p.y + p.size / 2)


def _candidate(rng: np.random.Generator, name: str, horizon: float, world: World) -> Placed:
    size = rng.uniform(*world.size) * (0.75 if name in IN_SKY else 1.0)
    x = rng.uniform(0.12, 0.88) * SIZE
    y = rng.uniform(0.4, 0.9) * horizon if name in IN_SKY else rng.uniform(horizon + 2, SIZE - 2) - size / 2
    colour = _draw_names(rng, world.colours)[0] if name in COLOURED else None
    return Placed(name, colour, float(x), float(y), float(size))


def _relation(rng: np.random.Generator, placed: list[Placed]) -> tuple[int, str, int] | None:
    """A true statement about two of the objects along the axis that separates them more, or None for fewer than two."""
    if len(placed) < 2:
        return None
    first, second = rng.permutation(len(placed))[:2].tolist()
    dx, dy = placed[first].x - placed[second].x, placed[first].y - placed[second].y
    if abs(dx) >= abs(dy):
        return first, "to the left of" if dx < 0 else "to the right of", second
    return first, "above" if dy < 0 else "below", second


def _draw(
    rng: np.random.Generator, placed: list[Placed], ground: str, horizon: float
) -> tuple[np.ndarray, dict[str, np.ndarray], list[Placed]]:
    """Paint colours and, in step, an index map of which label owns each pixel."""
    big = SIZE * SCALE
    canvas, owner = Image.new("RGB", (big, big), _jitter(rng, SKY_RGB)), Image.new("L", (big, big), LABELS.index("sky"))
    box = [0, horizon * SCALE, big, big]
    ImageDraw.Draw(canvas).rectangle(box, fill=_jitter(rng, GROUND_RGB[ground]))
    ImageDraw.Draw(owner).rectangle(box, fill=LABELS.index(ground))
    _texture(rng, ImageDraw.Draw(canvas), ground, horizon)
    whole = [_draw_object(rng, item, canvas, owner) for item in placed]
    image, index = np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BOX)), _centres(owner)
    counted = [
        Placed(
            p.name, p.colour, p.x, p.y, p.size, int(alone.sum()), int((alone & (index == LABELS.index(p.name))).sum())
        )
        for p, alone in zip(placed, whole, strict=True)
    ]
    return image, {name: index == i for i, name in enumerate(LABELS) if (index == i).any()}, counted


def _centres(drawn: Image.Image) -> np.ndarray:
    """The value at the centre of each pixel of the finished image."""
    return np.asarray(drawn)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE]


def _jitter(rng: np.random.Generator, rgb: Rgb, spread: int = 10) -> Rgb:
    r, g, b = (int(np.clip(v + rng.integers(-spread, spread + 1), 0, 255)) for v in rgb)
    return r, g, b


def _texture(rng: np.random.Generator, draw: ImageDraw.ImageDraw, ground: str, horizon: float) -> None:
    """Waves on water, blades on grass, dashes on a road: flat colour alone would leave nothing to represent."""
    if ground == "road":
        y = rng.uniform(horizon + 6, SIZE - 4) * SCALE
        for x in np.arange(rng.uniform(-10, 0), SIZE, 12) * SCALE:
            draw.rectangle([(x, y), (x + 6 * SCALE, y + 1.5 * SCALE)], fill=(232, 232, 226))
    if ground not in ("water", "grass"):
        return
    tone = (92, 156, 216) if ground == "water" else (70, 148, 54)
    for _ in range(14):
        x, y = rng.uniform(0, SIZE) * SCALE, rng.uniform(horizon + 2, SIZE) * SCALE
        end = (x + 7 * SCALE, y) if ground == "water" else (x, y - 3 * SCALE)
        draw.line([(x, y), end], fill=tone, width=SCALE)


def _draw_object(rng: np.random.Generator, item: Placed, canvas: Image.Image, owner: Image.Image) -> np.ndarray:
    """Paint one object on both canvases; returns bool [64, 64], the pixels it would show alone."""
    label, alone = LABELS.index(item.name), Image.new("L", owner.size, 0)
    targets = ((ImageDraw.Draw(canvas), None), (ImageDraw.Draw(owner), label), (ImageDraw.Draw(alone), 1))

    def paint(shape: str, points: list[Point], rgb: Rgb) -> None:
        at = [((item.x + px * item.size) * SCALE, (item.y + py * item.size) * SCALE) for px, py in points]
        extra = {"start": 180, "end": 360} if shape == "pieslice" else {}
        for draw, fill in targets:
            getattr(draw, shape)(at, fill=rgb if fill is None else fill, **extra)

    PAINTERS[item.name](paint, _jitter(rng, COLOURS[item.colour]) if item.colour else None, rng)
    return _centres(alone) == 1
