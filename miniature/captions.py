"""Captions in the manner of LAION-COCO's captioner: what is there, never where, unless the world states relations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOOK_OPENINGS = {
    "sketch": ("a sketch of", "a pencil sketch of", "a black and white sketch of"),
    "painting": ("a painting of", "an oil painting of"),
    "night": ("a night photo of", "at night"),
    "sepia": ("a sepia photo of", "an old sepia picture of"),
    "mosaic": ("a mosaic of", "a tile mosaic of"),
    "sunset": ("at sunset",),
    "overcast": ("an overcast photo of", "under an overcast sky"),
}
PLAIN_OPENINGS = ("", "", "", "a photo of", "a picture of", "an image of")
GROUND_PHRASES = {
    "grass": ("on the grass", "in the grass"),
    "sand": ("on the sand",),
    "snow": ("in the snow", "on the snow"),
    "water": ("on the water", "over the water"),
    "road": ("on the road", "by the road"),
}
CLOSINGS = ("at ", "under ")  # openings that read better at the end
RELATIONS = ("to the left of", "to the right of", "above", "below")


def write_caption(
    rng: np.random.Generator,
    objects: Sequence[tuple[str, str | None]],
    ground: str,
    look: str | None,
    colour_named: float = 0.875,
    relation: tuple[int, str, int] | None = None,
) -> str:
    """One caption for (name, colour) pairs on a ground.

    ``relation`` (first, words, second) indexes ``objects`` and is stated as "a dog to the left of a car"; the other
    objects are listed after it.
    """
    things = [_noun_phrase(rng, name, colour, colour_named) for name, colour in objects]
    order = rng.permutation(len(objects)).tolist()
    if relation is not None:
        first, words, second = relation
        others = [things[i] for i in order if i not in (first, second)]
        listed = _listed([f"{things[first]} {words} {things[second]}", *others])
    else:
        listed = _listed([things[i] for i in order])
    place = str(rng.choice(GROUND_PHRASES[ground]))
    opening = str(rng.choice(PLAIN_OPENINGS if look is None else LOOK_OPENINGS[look]))
    if opening.startswith(CLOSINGS):
        return f"{listed} {place} {opening}"
    return f"{opening} {listed} {place}".strip()


def _listed(things: list[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def _noun_phrase(rng: np.random.Generator, name: str, colour: str | None, colour_named: float) -> str:
    if colour is None or rng.random() >= colour_named:
        return f"a {name}"
    return f"{'an' if colour == 'orange' else 'a'} {colour} {name}"
