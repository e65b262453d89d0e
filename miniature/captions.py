"""Captions in the manner of LAION-COCO's captioner: what is there, never where."""

from __future__ import annotations

import numpy as np

STYLE_OPENINGS = {
    "sketch": ("a sketch of", "a pencil sketch of", "a black and white sketch of"),
    "painting": ("a painting of", "an oil painting of"),
    "night": ("a night photo of", "at night"),
    "sepia": ("a sepia photo of", "an old sepia picture of"),
}
PLAIN_OPENINGS = ("", "", "", "a photo of", "a picture of", "an image of")
GROUND_PHRASES = {
    "grass": ("on the grass", "in the grass"),
    "sand": ("on the sand",),
    "snow": ("in the snow", "on the snow"),
    "water": ("on the water", "over the water"),
}


def write_caption(
    rng: np.random.Generator, objects: list[tuple[str, str | None]], ground: str, style: str | None
) -> str:
    """One caption for (name, colour) pairs on a ground; each colour is left out one time in eight."""
    order = rng.permutation(len(objects))
    things = [_noun_phrase(rng, *objects[i]) for i in order]
    listed = things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]
    place = str(rng.choice(GROUND_PHRASES[ground]))
    openings = PLAIN_OPENINGS if style is None else STYLE_OPENINGS[style]
    opening = str(rng.choice(openings))
    if opening == "at night":
        return f"{listed} {place} at night"
    return f"{opening} {listed} {place}".strip()


def _noun_phrase(rng: np.random.Generator, name: str, colour: str | None) -> str:
    if colour is None or rng.random() < 0.125:
        return f"a {name}"
    return f"{'an' if colour == 'orange' else 'a'} {colour} {name}"
