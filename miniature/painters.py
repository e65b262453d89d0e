"""How each object looks. Painters draw shapes in units of the object's size around its centre, y downwards.

``main`` is the colour named for the object, or None for objects of natural colours. ``rng`` bends what is deformable:
limbs, wings, crowns and clouds differ from scene to scene.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Point = tuple[float, float]
Rgb = tuple[int, int, int]
Paint = Callable[[str, list[Point], Rgb], None]
Painter = Callable[[Paint, Rgb | None, np.random.Generator], None]

COLOURS: dict[str, Rgb] = {
    "red": (214, 48, 49),
    "blue": (40, 86, 214),
    "yellow": (246, 208, 36),
    "purple": (134, 60, 190),
    "orange": (244, 126, 28),
    "white": (245, 245, 245),
}
COLOURED = ("house", "ball", "balloon", "car", "boat", "flower", "kite")
FUR: tuple[Rgb, ...] = ((140, 92, 52), (92, 92, 98), (40, 36, 36), (212, 176, 124))  # dogs and cats share them
DARK: Rgb = (28, 28, 32)


def _house(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("rectangle", [(-0.4, -0.1), (0.4, 0.5)], main or (200, 200, 200))
    paint("polygon", [(-0.5, -0.1), (0.0, -0.5), (0.5, -0.1)], (120, 60, 40))
    paint("rectangle", [(-0.09, 0.18), (0.09, 0.5)], (70, 42, 30))


def _tree(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("rectangle", [(-0.09, 0.05), (0.09, 0.5)], (112, 74, 40))
    green = (26, 104, 46)
    paint("ellipse", [(-0.34, -0.5), (0.34, 0.16)], green)
    for side in (-1, 1):
        x, y, r = side * rng.uniform(0.14, 0.24), rng.uniform(-0.2, 0.02), rng.uniform(0.14, 0.22)
        paint("ellipse", [(x - r, y - r), (x + r, y + r)], green)


def _flower(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("rectangle", [(-0.05, 0.0), (0.05, 0.5)], (36, 120, 40))
    turn = rng.uniform(0, 2 * np.pi)
    for angle in turn + np.arange(0, 2 * np.pi - 0.01, 2 * np.pi / 5):
        x, y = 0.2 * float(np.cos(angle)), 0.2 * float(np.sin(angle)) - 0.16
        paint("ellipse", [(x - 0.17, y - 0.17), (x + 0.17, y + 0.17)], main or (230, 80, 160))
    paint("ellipse", [(-0.12, -0.28), (0.12, -0.04)], (90, 50, 20))


def _mushroom(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("rectangle", [(-0.13, 0.0), (0.13, 0.5)], (238, 226, 204))
    paint("pieslice", [(-0.44, -0.4), (0.44, 0.44)], (176, 24, 30))
    for x, y in ((-0.22, -0.1), (0.0, -0.26), (0.2, -0.1)):
        paint("ellipse", [(x - 0.07, y - 0.07), (x + 0.07, y + 0.07)], (250, 246, 240))


def _car(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    rgb = main or (200, 30, 30)
    paint("polygon", [(-0.3, 0.12), (-0.18, -0.12), (0.2, -0.12), (0.32, 0.12)], rgb)
    paint("rectangle", [(-0.15, -0.06), (0.17, 0.1)], (190, 226, 240))
    paint("rectangle", [(-0.5, 0.1), (0.5, 0.36)], rgb)
    paint("ellipse", [(-0.4, 0.24), (-0.14, 0.5)], DARK)
    paint("ellipse", [(0.14, 0.24), (0.4, 0.5)], DARK)


def _boat(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("polygon", [(-0.5, 0.2), (0.5, 0.2), (0.32, 0.5), (-0.32, 0.5)], (122, 72, 34))
    paint("rectangle", [(-0.03, -0.5), (0.03, 0.2)], (70, 50, 30))
    belly = rng.uniform(0.36, 0.48)  # the sail fills more or less
    paint("polygon", [(0.06, -0.46), (belly - 0.06, -0.08), (belly, 0.14), (0.06, 0.14)], main or (240, 240, 240))


def _dog(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    """Stands on four legs, its head to one side, ears hanging, tail up."""
    fur, side = FUR[rng.integers(len(FUR))], int(rng.choice((-1, 1)))
    _limbs(paint, fur, side, ((-0.3, 0.0), (-0.16, 0.0), (0.12, 0.0), (0.26, 0.0)), rng)
    _mirrored(paint, "ellipse", side, [(-0.38, -0.1), (0.32, 0.24)], fur)
    tip = rng.uniform(-0.34, -0.12)
    _mirrored(paint, "polygon", side, [(-0.34, 0.06), (-0.5, tip), (-0.42, tip), (-0.24, 0.02)], fur)
    _mirrored(paint, "ellipse", side, [(0.14, -0.34), (0.46, 0.02)], fur)
    _mirrored(paint, "ellipse", side, [(0.34, -0.2), (0.58, 0.0)], fur)
    ear: Rgb = (max(fur[0] - 30, 0), max(fur[1] - 30, 0), max(fur[2] - 30, 0))
    _mirrored(paint, "ellipse", side, [(0.12, -0.34), (0.26, 0.02)], ear)
    _mirrored(paint, "ellipse", side, [(0.32, -0.24), (0.38, -0.18)], (240, 240, 240))


def _limbs(paint: Paint, rgb: Rgb, side: int, hips: tuple[Point, ...], rng: np.random.Generator) -> None:
    for x, y in hips:
        step = rng.uniform(-0.08, 0.08)
        foot = [(x - 0.05, y), (x + 0.06, y), (x + 0.06 + step, 0.5), (x - 0.05 + step, 0.5)]
        _mirrored(paint, "polygon", side, foot, rgb)


def _cat(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    """Sits upright, ears pointed, tail curled to one side."""
    fur, side = FUR[rng.integers(len(FUR))], int(rng.choice((-1, 1)))
    reach = rng.uniform(0.4, 0.5)
    _mirrored(
        paint, "polygon", side, [(0.05, 0.36), (reach, 0.3), (reach, 0.08), (reach - 0.09, 0.08), (0.3, 0.24)], fur
    )
    paint("ellipse", [(-0.26, -0.12), (0.26, 0.56)], fur)
    paint("ellipse", [(-0.25, -0.42), (0.25, 0.02)], fur)
    for ear in (-1, 1):
        paint("polygon", [(ear * 0.24, -0.52), (ear * 0.23, -0.2), (ear * 0.04, -0.36)], fur)
        paint("ellipse", [(ear * 0.11 - 0.04, -0.26), (ear * 0.11 + 0.04, -0.16)], (170, 220, 90))


def _bird(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    """Flies: body, head and two wings at any beat."""
    side, beat, plume = int(rng.choice((-1, 1))), rng.uniform(-0.5, 0.2), (60, 66, 78)
    _mirrored(paint, "ellipse", side, [(-0.34, -0.06), (0.26, 0.2)], plume)
    _mirrored(paint, "ellipse", side, [(0.14, -0.14), (0.4, 0.12)], plume)
    _mirrored(paint, "polygon", side, [(0.38, -0.04), (0.54, 0.02), (0.38, 0.06)], (240, 150, 30))
    _mirrored(paint, "polygon", side, [(-0.3, 0.02), (-0.54, -0.04), (-0.5, 0.14)], plume)
    _mirrored(paint, "polygon", side, [(-0.16, 0.04), (0.14, 0.04), (-0.1, beat), (-0.28, beat)], (112, 120, 138))


def _ball(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    rgb = main or (200, 30, 30)
    paint("ellipse", [(-0.38, -0.26), (0.38, 0.5)], rgb)
    tilt = rng.uniform(-0.1, 0.1)
    paint("polygon", [(-0.36, 0.06 - tilt), (0.36, 0.06 + tilt), (0.36, 0.2 + tilt), (-0.36, 0.2 - tilt)], DARK)


def _balloon(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    rgb = main or (200, 30, 30)
    sway = rng.uniform(-0.16, 0.16)
    paint("polygon", [(-0.025, 0.16), (0.025, 0.16), (sway + 0.025, 0.5), (sway - 0.025, 0.5)], (90, 90, 90))
    paint("ellipse", [(-0.3, -0.5), (0.3, 0.2)], rgb)
    lighter = (min(255, rgb[0] + 70), min(255, rgb[1] + 70), min(255, rgb[2] + 70))
    paint("ellipse", [(-0.18, -0.38), (-0.02, -0.16)], lighter)


def _kite(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    rgb, sway = main or (200, 30, 30), rng.uniform(-0.3, 0.3)
    paint("polygon", [(-0.02, 0.1), (0.03, 0.1), (sway + 0.03, 0.5), (sway - 0.02, 0.5)], (80, 80, 80))
    paint("polygon", [(0.0, -0.5), (0.36, -0.16), (0.0, 0.26), (-0.36, -0.16)], rgb)
    paint("polygon", [(0.0, -0.5), (0.36, -0.16), (0.0, -0.16)], DARK)


def _cloud(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    paint("ellipse", [(-0.5, -0.06), (0.5, 0.28)], (252, 252, 254))
    for middle in (-0.24, 0.0, 0.24):
        x, r = middle + rng.uniform(-0.06, 0.06), rng.uniform(0.16, 0.28)
        paint("ellipse", [(x - r, 0.04 - r), (x + r, 0.04 + r)], (252, 252, 254))


def _sun(paint: Paint, main: Rgb | None, rng: np.random.Generator) -> None:
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        c, s = float(np.cos(angle)), float(np.sin(angle))
        paint("polygon", [(0.5 * c, 0.5 * s), (-0.08 * s, 0.08 * c), (0.08 * s, -0.08 * c)], (255, 190, 40))
    paint("ellipse", [(-0.32, -0.32), (0.32, 0.32)], (255, 216, 48))


def _mirrored(paint: Paint, shape: str, side: int, points: list[Point], rgb: Rgb) -> None:
    """Facing right for side 1, left for -1; Pillow wants an ellipse's corners in order."""
    turned = [(side * x, y) for x, y in points]
    paint(
        shape,
        turned if shape == "polygon" or side > 0 else [(turned[1][0], turned[0][1]), (turned[0][0], turned[1][1])],
        rgb,
    )


PAINTERS: dict[str, Painter] = {
    "house": _house,
    "tree": _tree,
    "flower": _flower,
    "mushroom": _mushroom,
    "car": _car,
    "boat": _boat,
    "dog": _dog,
    "cat": _cat,
    "bird": _bird,
    "ball": _ball,
    "balloon": _balloon,
    "kite": _kite,
    "cloud": _cloud,
    "sun": _sun,
}
