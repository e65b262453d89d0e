"""Words of edits: where they are made, and what stands beside them, values of the column ``control``."""

from __future__ import annotations

from collections.abc import Sequence

TRACED = "traced"  # a block setting that leaves the choice to a causal trace
CONCEPTS, RANDOM, UNEDITED = "none", "random_direction", "unedited"
RANDOM_CONCEPTS, UNRELATED = "random_concepts", "unrelated_concept"
WRONG_REGION, SWITCHED = "wrong_region", "switched_prompt"
MEAN_DIFFERENCE, NEURONS, UNTRAINED = "mean_difference", "neurons", "untrained"
CONTROLS = {
    RANDOM: "a random direction of the same norm, drawn for each case",
    RANDOM_CONCEPTS: "as many other concepts, on as often, drawn for each case",
    UNRELATED: "the concepts of the next target of the kind, in the right region",
    WRONG_REGION: "the right concepts in the opposite quadrant; of spatial edits alone",
    MEAN_DIFFERENCE: "the mean difference of updates with and without the label, the supervised reference",
    NEURONS: "the channels that carry the label best",
    UNTRAINED: "the concepts of the untrained SAE that carry the label best",
    SWITCHED: "no edit: the caption that asks for the target (atlas.phrases) is read meanwhile; of global edits alone",
}
ONE_KIND = {WRONG_REGION: "spatial", SWITCHED: "global"}  # controls that the other kind has not


def edited(controls: Sequence[str], kind: str) -> tuple[str, ...]:
    """What every case of a kind is edited with: the concepts, then the controls that the kind has."""
    return (CONCEPTS, *(control for control in controls if ONE_KIND.get(control, kind) == kind))


def beside(region: str) -> str:
    """The quadrant to the left or right of one, at the same height: things that lie on the ground stay there."""
    vertical, _, horizontal = region.partition("_")
    return f"{vertical}_{'right' if horizontal == 'left' else 'left'}"


def opposite(region: str) -> str:
    """The quadrant across the middle."""
    turned = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    return "_".join(turned[part] for part in region.split("_"))
