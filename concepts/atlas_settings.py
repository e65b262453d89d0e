"""How it is measured when an edit works, and which blocks carry it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from concepts.edit_controls import CONTROLS, RANDOM, SWITCHED


class AtlasSettings(BaseModel):
    """`concepts atlas`: causal traces by block and window, and success against the onset of an edit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(
        24,
        ge=2,
        description="Prompts of the style split, then of the layout split, the first that name one of "
        "interventions.objects and no look: both kinds of edit are made of the same ones, with the same seeds.",
    )
    looks_per_prompt: int | None = Field(
        None,
        ge=1,
        description="Looks that each prompt is edited with, in turn; empty: all of them. Their mean is nearly as sure "
        "with half of them, since it is the prompts that differ, and costs half.",
    )
    length: float | tuple[float, ...] = Field(
        0.4,
        description="Diffusion time that an edit lasts, or a list of such lengths, each with curves of its own: 0.4 is "
        "as long as the paper's early and middle windows, so that the strengths chosen in those fit. An edit that "
        "begins late ends with the image.",
    )
    onsets: int = Field(16, ge=3, description="Onsets at most, spread evenly over the steps.")
    controls: tuple[str, ...] = Field(
        (RANDOM, SWITCHED),
        description="What every case is edited with besides the concepts, as in interventions.controls; a kind leaves "
        "out what it has not.",
    )
    phrases: dict[str, str] = Field(
        {},
        description="How a caption asks for a look, {caption} standing for the prompt's own, as in '{caption} at "
        "night'; a look that is not named here is put behind a comma. Read wherever captions are switched.",
    )
    trace_prompts: int = Field(
        4, ge=1, description="Prompts for each target of a causal trace, the first that fit as those above do."
    )
    trace_depth: int = Field(
        3, ge=1, description="Blocks that are added to a set one by one, each the one that helps most; three show how."
    )

    cause_prompts: int = Field(
        8, ge=2, description="Prompts on which each labelled concept is tried by itself, the first as above."
    )
    cause_directions: int = Field(
        20, ge=1, description="Random directions beside them; twenty make their mean's error small beside a concept's."
    )

    def takes(self, place: int, look: int, looks: int) -> bool:
        """Whether the prompt at a place of the list is edited with the look of that number, out of so many."""
        return (place + look) % looks < (self.looks_per_prompt or looks)

    def asked_for(self, caption: str, look: str) -> str:
        """A caption that asks for a look besides what it says."""
        return self.phrases.get(look, "{caption}, " + look).replace("{caption}", caption)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Every length that edits are tried with."""
        return self.length if isinstance(self.length, tuple) else (self.length,)

    @field_validator("length")
    @classmethod
    def _spans(cls, length: float | tuple[float, ...]) -> float | tuple[float, ...]:
        lengths = length if isinstance(length, tuple) else (length,)
        if not lengths or len(set(lengths)) != len(lengths) or not all(0 < one <= 1 for one in lengths):
            raise ValueError(f"atlas.length must be distinct spans of time above 0 and up to 1, got {length}")
        return length

    @field_validator("phrases")
    @classmethod
    def _phrased(cls, phrases: dict[str, str]) -> dict[str, str]:
        for look, phrase in phrases.items():
            if "{caption}" not in phrase:
                raise ValueError(
                    f"atlas.phrases.{look} is {phrase!r}: it must hold {{caption}}, where the prompt's own caption goes"
                )
        return phrases

    @field_validator("controls")
    @classmethod
    def _known(cls, controls: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [control for control in controls if control not in CONTROLS]
        if unknown or len(set(controls)) != len(controls):
            raise ValueError(f"atlas.controls must be distinct ones of {', '.join(CONTROLS)}; got {list(controls)}")
        return controls
