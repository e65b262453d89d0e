"""What a user asks of one edit: the options of `concepts edit`, the form in Prefect's UI, and `atlas.edit`.

An edit is a plan of one part or of several: what is done, by which concepts, where, when and how strongly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from study.errors import StudyError
from study.mistakes import one_sentence

PLACE, ADD, ABLATE, REPLACE, CLAMP = "place", "add", "ablate", "replace", "clamp"
WHOLE = 1.0  # strength of an operation that takes a share, if none is given: all of it
NUMBER = re.compile(r"(?:cid:)?(\d+)", re.I)


class _Image(BaseModel):
    """Whose fields come first in a form."""

    prompt: str = Field(min_length=1, description="Caption of the image, as in: a boat on the water")


class EditPart(BaseModel):
    """One part of an edit: an operation by concepts, in a window, in a region, at some blocks."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    concept: tuple[str, ...] = Field(
        (),
        description="What is edited in: labels (boat), for the concepts that carry them best, or numbers of concepts "
        "(12, cid:45). Several act together.",
    )
    window: str | None = Field(
        None,
        description="When: a window of the study's settings (early, middle, final), or diffusion times as in 0.2-0.6; "
        "1 is pure noise, 0 the finished image.",
    )
    strength: float | None = Field(
        None,
        ge=-1000,
        le=1000,
        description="Of add and place: the norm that is added, in units of the block's RMS residual-update norm; below "
        "0 it pushes away. Of ablate, replace and clamp: how much of it is done, all (1) if left empty. 0 changes "
        "nothing.",
    )
    region: str | None = Field(
        None,
        description="Where: left, top_right, centre, ...; box:LEFT,TOP,RIGHT,BOTTOM or polygon:X,Y X,Y X,Y in parts "
        "of the image; cells:ROWSxCOLUMNS:HEX, a bit a cell; or the path of a PNG of the image's size, white where the "
        "edit acts. Empty: everywhere.",
    )
    feather: float = Field(0.0, ge=0, le=512, description="Softness of the region's edge: a deviation in pixels.")
    block: tuple[str, ...] = Field(
        (),
        description="Blocks that are edited, each by its own concepts and in its own unit, as in mid or up. Empty: the "
        "block of the study's own edits of that kind, spatial with a region and global without.",
    )
    operation: Literal["place", "add", "ablate", "replace", "clamp"] | None = Field(
        None,
        description="place: add inside the region and take away outside it (with a region, if left empty). add: add "
        "the concepts' direction (without one). ablate: take away what the concepts write. replace: put them where "
        "those of `instead_of` are. clamp: turn each to its largest activation.",
    )
    instead_of: tuple[str, ...] = Field((), description="Of replace: labels or numbers of what is taken away.")
    half: Literal["cond", "both"] = Field(
        "cond",
        description="Half of classifier-free guidance that is edited: the one with the prompt, or both, each by the "
        "concepts of its own sites.",
    )
    schedule: str | None = Field(
        None,
        description="Factors on the strength by diffusion time, as in 1:0,0.6:1,0.2:0.5: linear between these points, "
        "constant before the first and after the last. Empty: 1 throughout.",
    )
    quantile: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Of clamp: the quantile of each concept's activations where it is on, in the dictionary split, "
        "that it is turned to. Needs the study's activations. Empty: the largest, which the tables have.",
    )

    @field_validator("concept", "block", "instead_of", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Several names or numbers, given apart, in one text with commas, or one by itself."""
        many = value if isinstance(value, list | tuple) else () if value is None else (value,)
        parts = [part.strip() for one in many for part in str(one).split(",")]
        return tuple(dict.fromkeys(part for part in parts if part))

    @field_validator("region", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("schedule", mode="before")
    @classmethod
    def _pointed(cls, value: Any) -> Any:
        """Points in one text, given as that or as pairs of time and factor."""
        pairs = list(value.items()) if isinstance(value, Mapping) else value
        if isinstance(pairs, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
            return ",".join(f"{time}:{factor}" for time, factor in pairs)
        return value

    @property
    def acts(self) -> str:
        """The operation, the usual one if none is named: the paper's of each kind."""
        return self.operation or (PLACE if self.region is not None else ADD)

    @property
    def amount(self) -> float:
        """The strength, the whole of an operation that takes a share if none is given."""
        return WHOLE if self.strength is None else self.strength

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """The schedule's (time, factor), in the order of time; none without one."""
        return () if self.schedule is None else points_of(self.schedule)

    @property
    def facts(self) -> dict[str, Any]:
        """All that is asked, alike for parts that ask the same, however it is spelt."""
        spelt = {"operation": self.acts, "strength": self.amount, "schedule": self.points or None}
        return EditPart.model_dump(self, include=set(EditPart.model_fields), mode="json") | spelt

    @property
    def labels(self) -> list[str]:
        """What is edited in and named by a label."""
        return [name for name in self.concept if number_of(name) is None]


class EditRequest(EditPart, _Image):
    """One edit of one image. What the study has to say to it is asked by ``tasks.edit_plan``."""

    parts: tuple[EditPart, ...] = Field(
        (),
        description="Of an edit of several parts: each with what is asked above, which is then left empty. All act on "
        "the same update; the first part's label is what the judge is asked for.",
    )
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="Seed of the image's initial noise. Empty: the study's."
    )
    judge: bool = Field(True, description="Have the study's judge score the images.")
    controls: int = Field(
        1,
        ge=1,
        le=200,
        description="Random directions of the same norm that the edit is held against. The first one's image is kept, "
        "of the others the judge's score.",
    )

    @model_validator(mode="after")
    def _sensible(self) -> EditRequest:
        _refuse_contradictions(self)
        return self

    @property
    def planned(self) -> tuple[EditPart, ...]:
        """The parts: those of a plan, or the one that the request itself is."""
        return self.parts or (EditPart(**{name: getattr(self, name) for name in EditPart.model_fields}),)


def request_of(origin: str = "edit", /, **given: Any) -> EditRequest:
    """A request of what was given. Raises ``StudyError``, one sentence, for what can be told without a study.

    ``origin``: what the sentence names, as the file that it was read from.
    """
    try:
        return EditRequest(**given)
    except ValidationError as error:
        raise StudyError(one_sentence(error, origin, EditRequest)) from error


def number_of(name: str) -> int | None:
    """The concept's number, as in 12 or cid:12; None for a label. Raises ``ValueError`` for cid: without a number."""
    found = NUMBER.fullmatch(name)
    if found is None and name.lower().startswith("cid:"):
        raise ValueError(f"{name!r} is no concept: give its number, as in cid:12")
    return int(found[1]) if found else None


def points_of(schedule: str) -> tuple[tuple[float, float], ...]:
    """(time, factor) of each point of 1:0,0.6:1, in the order of time. Raises ``ValueError`` for what is none."""
    points: dict[float, float] = {}
    for piece in (piece.strip() for piece in schedule.split(",")):
        time, _, factor = piece.partition(":")
        try:
            point = float(time), float(factor)
        except ValueError:
            raise ValueError(f"schedule {piece!r} is no point: give TIME:FACTOR, as in 1:0,0.6:1,0.2:0.5") from None
        if not all(map(math.isfinite, point)):
            raise ValueError(f"schedule {piece!r} holds no finite number: give TIME:FACTOR, as in 1:0,0.6:1,0.2:0.5")
        if not 0.0 <= point[0] <= 1.0:
            raise ValueError(f"schedule {piece!r} lies outside all times: give one from 0 (the image) to 1 (noise)")
        if point[0] in points:
            raise ValueError(f"schedule has the time {point[0]:g} twice: keep one factor for it")
        points[point[0]] = point[1]
    return tuple(sorted(points.items()))


def _refuse_contradictions(request: EditRequest) -> None:
    if not request.prompt.strip():
        raise ValueError("the prompt is blank: say what the image shows, as in 'a boat on the water'")
    if request.controls > 1 and not request.judge:
        raise ValueError(f"of {request.controls} controls all but the first are only scored: ask the judge, or for one")
    own = [name for name, field in EditPart.model_fields.items() if getattr(request, name) != field.default]
    if request.parts and own:
        raise ValueError(f"{own[0]} stands beside parts, which have their own: put it into one of them")
    for number, part in enumerate(request.planned, 1):
        try:
            _refuse_part(part)
        except ValueError as error:
            raise ValueError(f"part {number}: {error}" if request.parts else str(error)) from error
    for number, part in enumerate(request.parts):
        if (same := [part.facts for part in request.parts].index(part.facts)) < number:
            raise ValueError(f"parts {same + 1} and {number + 1} are the same: keep one, or give it more strength")


def _refuse_part(part: EditPart) -> None:
    acts = part.acts
    if not part.concept or part.window is None:
        lacking = "concept" if not part.concept else "window"
        raise ValueError(f"an edit needs a {lacking}: give the concept that is edited in, and the window, as in early")
    if part.strength is None and acts in (ADD, PLACE):
        raise ValueError(f"{acts} needs a strength: give the norm to be added, as in 3")
    if acts == PLACE and part.region is None:
        raise ValueError("place adds inside a region and takes away outside it: give a region, or add everywhere")
    if part.feather and part.region is None:
        raise ValueError("feather softens the edge of a region, and none is given: give one, or leave feather out")
    if acts == REPLACE and not part.instead_of:
        raise ValueError("replace needs what is taken away: give instead_of, as in house")
    if acts != REPLACE and part.instead_of:
        raise ValueError(f"instead_of belongs to replace, and this edit is {acts}: give one of the two alone")
    both = sorted({name.lower() for name in part.concept} & {name.lower() for name in part.instead_of})
    if both:
        raise ValueError(f"{both[0]!r} is to be put in and taken away by one edit: name another for one of them")
    if part.quantile is not None and acts != CLAMP:
        raise ValueError(f"quantile belongs to clamp, and this edit is {acts}: give one of the two alone")
    _ = part.points  # is told if it is none
    numbers = [name for name in (*part.concept, *part.instead_of) if number_of(name) is not None]
    if numbers and len(part.block) > 1:
        raise ValueError(
            f"{numbers[0]!r} is another concept in each block ({', '.join(part.block)}): name one block, or a label"
        )
    if numbers and part.half == "both":
        raise ValueError(f"{numbers[0]!r} is another concept in each half of guidance: leave half out, or name a label")
