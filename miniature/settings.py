"""What a scene world is made of: a YAML file, refused with a sentence when it names what cannot be drawn."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

OBJECTS = (
    "house", "tree", "flower", "mushroom", "car", "boat", "dog", "cat",
    "bird", "ball", "balloon", "kite", "cloud", "sun",
)  # fmt: skip
GROUNDS = ("grass", "sand", "snow", "water", "road")
STYLES = ("sketch", "painting", "night", "sepia", "mosaic")
SKIES = ("sunset", "overcast")
COLOUR_WORDS = ("red", "blue", "yellow", "purple", "orange", "white")
DEFAULT_FILE = Path(__file__).with_name("world.yaml")

Weights = dict[str, Annotated[float, Field(ge=0)]]
Share = Annotated[float, Field(ge=0, le=1)]


class WorldError(ValueError):
    """A world file that cannot be used; the message names the file, the field and the remedy."""


class Preference(BaseModel):
    """A built-in correlation: a scene with ``object`` stands on ``ground`` with at least this probability."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    object: str
    ground: str
    probability: Share


class World(BaseModel):
    """The world's probabilities; each field is explained in ``miniature/world.yaml``, the default."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    objects: Weights
    count: tuple[Share, ...]
    grounds: Weights
    colours: Weights
    styled: Share
    styles: Weights
    lit: Share
    skies: Weights
    prefers: tuple[Preference, ...] = ()
    caption_colour: Share
    near: Share
    size: tuple[float, float]
    relations: bool = False

    def digest(self) -> str:
        """Twelve hex digits that tell two worlds apart, for checkpoints and caches."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @model_validator(mode="after")
    def _known(self) -> World:
        for field, known in (
            ("objects", OBJECTS),
            ("grounds", GROUNDS),
            ("colours", COLOUR_WORDS),
            ("styles", STYLES),
            ("skies", SKIES),
        ):
            weights = getattr(self, field)
            for name in weights:
                _check(name, known, field)
            if not sum(weights.values()) > 0:
                raise ValueError(f"{field}: at least one weight has to be above zero")
        for preference in self.prefers:
            _check(preference.object, tuple(self.objects), "prefers.object")
            _check(preference.ground, tuple(self.grounds), "prefers.ground")
        if abs(sum(self.count) - 1) > 1e-6:
            raise ValueError(f"count: the probabilities sum to {sum(self.count):g}, not to 1")
        if len(self.count) > sum(weight > 0 for weight in self.objects.values()):
            raise ValueError("count: a scene cannot hold more objects than the world has")
        if not 8 <= self.size[0] <= self.size[1] <= 48:
            raise ValueError("size: give two heights in pixels, the smaller first, between 8 and 48")
        return self


def _check(name: str, known: tuple[str, ...], field: str) -> None:
    if name not in known:
        raise ValueError(f"{field}: unknown {name!r}, the world can draw {', '.join(known)}")


def load_world(path: str | Path) -> World:
    """Read a world file. Raises ``WorldError`` naming the file and the field."""
    try:
        return World.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise WorldError(f"{path} cannot be read as a world file: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise WorldError(
            f"{path}: {place + ': ' if place else ''}{first['msg'].removeprefix('Value error, ')}"
        ) from error


@cache
def default_world() -> World:
    """The world the shipped models were trained on."""
    return load_world(DEFAULT_FILE)
