"""What a user asks of one edit: the options of `concepts edit`, the form in Prefect's UI, and `atlas.edit`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from study.errors import StudyError
from study.mistakes import one_sentence

PLACE, ADD, ABLATE, REPLACE, CLAMP = "place", "add", "ablate", "replace", "clamp"
WHOLE = 1.0  # strength of an operation that takes a share, if none is given: all of it
NUMBER = re.compile(r"(?:cid:)?(\d+)", re.I)


class EditRequest(BaseModel):
    """One edit of one image. What the study has to say to it is asked by ``tasks.edit_plan``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prompt: str = Field(min_length=1, description="Caption of the image, as in: a boat on the water")
    concept: tuple[str, ...] = Field(
        min_length=1,
        description="What is edited in: labels (boat), for the concepts that carry them best, or numbers of concepts "
        "(12, cid:45). Several act together.",
    )
    window: str = Field(
        description="When: a window of the study's settings (early, middle, final), or diffusion times as in 0.2-0.6; "
        "1 is pure noise, 0 the finished image."
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
        "of the image; or the path of a PNG of the image's size, white where the edit acts. Empty: everywhere.",
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
    seed: int | None = Field(
        None, ge=0, le=2**63 - 1, description="Seed of the image's initial noise. Empty: the study's."
    )
    judge: bool = Field(True, description="Have the study's judge score the three images.")

    @field_validator("concept", "block", "instead_of", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        """Several names or numbers, given apart, in one text with commas, or one by itself."""
        many = value if isinstance(value, list | tuple) else () if value is None else (value,)
        parts = [part.strip() for one in many for part in str(one).split(",")]
        return tuple(dict.fromkeys(part for part in parts if part))

    @model_validator(mode="after")
    def _sensible(self) -> EditRequest:
        _refuse_contradictions(self)
        return self

    @property
    def acts(self) -> str:
        """The operation, the usual one if none is named: the paper's of each kind."""
        return self.operation or (PLACE if self.region is not None else ADD)

    @property
    def amount(self) -> float:
        """The strength, the whole of an operation that takes a share if none is given."""
        return WHOLE if self.strength is None else self.strength


def request_of(**given: Any) -> EditRequest:
    """A request of what was given. Raises ``StudyError``, one sentence, for what can be told without a study."""
    try:
        return EditRequest(**given)
    except ValidationError as error:
        raise StudyError(one_sentence(error, "edit", EditRequest)) from error


def number_of(name: str) -> int | None:
    """The concept's number, as in 12 or cid:12; None for a label. Raises ``ValueError`` for cid: without a number."""
    found = NUMBER.fullmatch(name)
    if found is None and name.lower().startswith("cid:"):
        raise ValueError(f"{name!r} is no concept: give its number, as in cid:12")
    return int(found[1]) if found else None


def _refuse_contradictions(request: EditRequest) -> None:
    acts = request.acts
    if not request.prompt.strip():
        raise ValueError("the prompt is blank: say what the image shows, as in 'a boat on the water'")
    if request.strength is None and acts in (ADD, PLACE):
        raise ValueError(f"{acts} needs a strength: give the norm to be added, as in 3")
    if acts == PLACE and request.region is None:
        raise ValueError("place adds inside a region and takes away outside it: give a region, or add everywhere")
    if request.feather and request.region is None:
        raise ValueError("feather softens the edge of a region, and none is given: give one, or leave feather out")
    if acts == REPLACE and not request.instead_of:
        raise ValueError("replace needs what is taken away: give instead_of, as in house")
    if acts != REPLACE and request.instead_of:
        raise ValueError(f"instead_of belongs to replace, and this edit is {acts}: give one of the two alone")
    both = sorted({name.lower() for name in request.concept} & {name.lower() for name in request.instead_of})
    if both:
        raise ValueError(f"{both[0]!r} is to be put in and taken away by one edit: name another for one of them")
    numbers = [name for name in (*request.concept, *request.instead_of) if number_of(name) is not None]
    if numbers and len(request.block) > 1:
        raise ValueError(
            f"{numbers[0]!r} is another concept in each block ({', '.join(request.block)}): name one block, or a label"
        )
    if numbers and request.half == "both":
        raise ValueError(f"{numbers[0]!r} is another concept in each half of guidance: leave half out, or name a label")
