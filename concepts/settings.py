"""How concepts are labelled, layouts predicted and edits made."""

from __future__ import annotations

import difflib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from concepts.edit_controls import CONTROLS, RANDOM, TRACED
from concepts.scalings import SCALINGS

PAPER_IOU = 0.5  # IoU in one image above which the paper's rule takes a label (section 3)
REGIONS = ("top_left", "top_right", "bottom_left", "bottom_right")


Scaling = Literal["rms", "code_norm", "code_share"]


class LabelSettings(BaseModel):
    """From overlaps to labels. The first two fields are the paper's (section 3); the others define our rule.

    ``hit_iou`` could once be set, to what ``n_hit50`` and ``paper_assigned`` do not mean; configurations still name it,
    and ``study.limits`` refuses any other value for a run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    binarise_at: float = Field(
        0.1, gt=0, lt=1, description="A map counts as on above this part of the concept's maximum."
    )
    hit_iou: float = Field(
        PAPER_IOU,
        gt=0,
        lt=1,
        description="IoU in one image above which the paper's rule takes a label: 0.5, as its columns say.",
    )
    assign_iou: float = Field(
        0.25,
        ge=0,
        lt=1,
        description="Smallest IoU, pooled over all images of the selection half, for our rule. A quarter is about half "
        "of what an 8 x 8 grid can reach on a small object.",
    )
    assign_fdr: float = Field(
        0.05,
        gt=0,
        le=1,
        description="Largest share of false discoveries (Benjamini-Hochberg) among the pairs of one SAE that are "
        "called more than chance, over all its concepts that fire and all labels, on the selection half.",
    )
    assign_lift: float = Field(
        1.5, ge=1, description="Smallest ratio, on the selection half, to the overlap that position alone gives."
    )
    assign_images: int = Field(
        5, ge=1, description="Fewest images of the selection half in which concept and label are on together."
    )
    keep_iou: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Pairs of smaller IoU are left out of `concept_labels` unless a rule takes them: nearly every "
        "concept touches nearly every label somewhere, which says nothing and would be most of the table.",
    )
    embedder: Literal["text_encoder", "minilm", "word2vec"] = Field(
        "text_encoder", description="Vectors of labels: the model's own text encoder, MiniLM (extra) or a file."
    )
    word2vec_path: str | None = Field(None, description="Word2Vec text file for the 'word2vec' embedder.")
    hierarchy: str | None = Field(
        None,
        description="Broader terms of labels: a file of 'label<TAB>broader label' lines, or 'wordnet' (its database "
        "files, found where WNSEARCHDIR says). Empty leaves `concepts.parent` empty.",
    )
    examples_per_concept: int = Field(
        3, ge=1, description="Example images kept in each bin: three show what varies, and a row of a card has room."
    )
    examples_by: Literal["peak", "mean"] = Field(
        "peak",
        description="What a concept's images are ranked by: its largest activation, or its mean over positions, the "
        "paper's concept intensity.",
    )
    centred: bool = Field(
        True,
        description="Whether the vocabulary's mean vector is taken from every label's before cosines are formed, since "
        "raw text vectors all point one way; the paper takes Word2Vec's as they are.",
    )
    bins: int = Field(
        10,
        ge=1,
        description="Quantile bins of a concept's activation, strongest first, that keep examples; ten: deciles.",
    )

    @model_validator(mode="after")
    def _file_given(self) -> LabelSettings:
        if self.embedder == "word2vec" and not self.word2vec_path:
            raise ValueError("labels.embedder is 'word2vec', so labels.word2vec_path must name a file of vectors")
        return self


class LayoutSettings(BaseModel):
    """Predicting where a label will be from the concepts of one timestep (paper, section 4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_concepts: int = Field(5, ge=1, description="Strongest concepts at a position that enter its embedding.")
    min_images: int = Field(5, ge=2, description="Labels in fewer images of either split are not scored.")
    fit_images: int = Field(
        1000,
        ge=2,
        description="Images of the dictionary split, the first of each label, that its threshold and its prior are "
        "fitted on. A thousand place both far more finely than the scores differ, and memory stays bounded.",
    )
    large_share: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Labels that cover on average at least this share of an image are summed up apart from smaller "
        "ones: sky and ground score high by position alone, and hide what happens to objects.",
    )
    attention: bool = Field(
        False,
        description="Also predict by cross-attention heat maps (DAAM), which takes sampling the dictionary and layout "
        "splits once more: the method `attention` of cond sites.",
    )
    bootstrap: int = Field(1000, ge=100, description="Resamples of images behind each interval.")


class InterventionSettings(BaseModel):
    """Which edits are made, where, when and how strongly (paper, section 5)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: str = Field(
        TRACED,
        description="Block that is edited, as in mid, which is the paper's; traced: for each kind the blocks by which "
        "most of another caption comes through, as a causal trace finds it (table traced_blocks).",
    )
    spatial_block: str | tuple[str, ...] | None = Field(
        None,
        description="Block of the spatial edits, or a list of blocks that are edited together, each by its own "
        "site's concepts and in its own unit of strength; empty: `block`.",
    )
    global_block: str | tuple[str, ...] | None = Field(
        None,
        description="The same of the global edits. Looks may be set elsewhere than places: of the miniature, up turns "
        "looks that mid does not.",
    )
    halves: Literal["cond", "both"] = Field(
        "cond",
        description="Halves of guidance that are edited: cond, as the paper does, or both, uncond by the concepts of "
        "its own sites.",
    )
    controls: tuple[str, ...] = Field(
        (RANDOM,),
        description="What every case is edited with besides the concepts, each as strongly: "
        + "; ".join(f"{name} ({what})" for name, what in CONTROLS.items())
        + ". Each costs as many images as the concepts do.",
    )
    windows: dict[str, tuple[float, float, float]] = Field(
        {"early": (0.6, 1.0, 1.0), "middle": (0.2, 0.6, 0.5), "final": (0.0, 0.2, 0.0)},
        description="Window -> (t from, t to, timestep of the SAE that serves it): the steps with from < t <= to, and "
        "t = 0 where it starts at 0, so that windows that touch share no step. Windows may overlap: each is an edit "
        "of its own. The paper's.",
    )
    objects: tuple[str, ...] = Field(description="Labels of the spatial edits.")
    styles: tuple[str, ...] = Field(description="Labels of the global edits.")
    prompts_per_target: int = Field(4, ge=1, description="Prompts of the style split for each target and window.")
    spatial_strengths: tuple[float, ...] = Field(
        (2.0, 4.0, 8.0),
        description="Norms that a spatial edit may add, in units of the site's RMS residual-update norm. Every window "
        "uses the smallest that beats the random direction about best on prompts of the dictionary split; a single one "
        "needs no such choice.",
    )
    global_strengths: tuple[float, ...] = Field(
        (4.0, 8.0, 16.0), description="The same for global edits, which take more: the whole image has to turn."
    )
    calibration_images: int = Field(
        8, ge=1, description="Images of each target and strength in that choice; four quadrants of a prompt are four."
    )
    calibration: Literal["full", "halving"] = Field(
        "full",
        description="How strengths are tried. full: each on all calibration_images. halving: all on a part of them, "
        "the better half on as many more, and so on; and global edits of all targets are held against the same images "
        "of random directions, since those know of no target. It takes two thirds of the images or less, and may give "
        "up on a strength that more images would have chosen.",
    )
    strength_by: Literal["kind", "target"] = Field(
        "kind",
        description="Whose images choose a strength: those of all targets of the kind, or each target's own. Looks "
        "differ in how far they lie: of the miniature, sunset is past its best where sketch has not begun.",
    )
    bootstrap: int = Field(2000, ge=100, description="Resamples of prompts behind each interval.")
    concepts_per_target: int = Field(5, ge=1, description="Concepts of a label that are edited: those of highest IoU.")
    keep_images: bool = Field(True, description="Store the edited images in the table.")
    global_prompts: int | None = Field(
        None, ge=1, description="Prompts of the style split for each global edit; empty: `prompts_per_target`."
    )
    spatial_scaling: Scaling = Field(
        "rms",
        description="What strengths of spatial edits are multiples of: "
        + "; ".join(f"{name} ({what})" for name, what in SCALINGS.items())
        + ". The last two are the paper's, which compare neither between blocks nor between times.",
    )
    global_scaling: Scaling = Field("rms", description="The same of global edits.")
    carriers: Literal["best", "all"] = Field(
        "best",
        description="Which concepts of an object are edited. best: `concepts_per_target` of highest IoU among those "
        "that pass the rule's bars on images and lift. all: every concept whose list of labels has it, IoU > 0.5 in "
        "one image, as the paper does. Of a style, for which the paper picks one by hand, the best are taken always.",
    )
    transfer_from: float | None = Field(
        None,
        description="Time whose concepts of a style serve every window: at another time each is replaced by the "
        "concept there whose embedding is most similar, as the paper carries over what it picked at t = 0.5. Empty: "
        "every time has its own concepts.",
    )
    style_cids: dict[str, tuple[int, ...]] = Field(
        {},
        description="Style -> its CIDs at the time `transfer_from`, picked by hand, as the paper's are; a style that "
        "is not named takes its `carriers`.",
    )

    judge_floor: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Probability from which a pixel of the judge's map counts for the object's centre of mass; an "
        "image without any is a failure. 0 takes the raw map of the whole image, as the paper does.",
    )
    similarity: bool = Field(
        False,
        description="Also record by how much the similarity of each globally edited image to the mean embedding of the "
        "words in its concepts' lists rose, as the paper judges them; a judge with text embeddings (judge_clip) is "
        "asked.",
    )
    damage: bool = Field(
        True,
        description="Also record what each edit costs: how far named things move, how much of its caption the image "
        "still shows, the judge's features of it, and how far off their usual distribution the activations are driven. "
        "Takes sampling the unedited images once more up to the window's end.",
    )
    lpips: Literal["alex", "vgg", "squeeze"] | None = Field(
        None,
        description="Also record LPIPS of each globally edited image to the one before, by this network (extra lpips); "
        "empty: none.",
    )

    @property
    def halved(self) -> bool:
        """Whether strengths that do badly on a few images are tried on no more."""
        return self.calibration == "halving"

    def named_blocks(self, kind: str) -> tuple[str, ...]:
        """The blocks that a kind of edit, spatial or global, is said to act on; none if that is left to a trace."""
        given = (self.spatial_block if kind == "spatial" else self.global_block) or self.block
        blocks = (given,) if isinstance(given, str) else given
        return () if blocks == (TRACED,) else blocks

    def scaling_of(self, kind: str) -> str:
        """What the strengths of a kind of edit are multiples of."""
        return self.spatial_scaling if kind == "spatial" else self.global_scaling

    def prompts_of(self, kind: str) -> int:
        """The most prompts that a kind of edit is reported on, for each target and window."""
        return self.prompts_per_target if kind == "spatial" else self.global_prompts or self.prompts_per_target

    @field_validator("spatial_block", "global_block")
    @classmethod
    def _distinct(cls, blocks: str | tuple[str, ...] | None, info: ValidationInfo) -> str | tuple[str, ...] | None:
        if isinstance(blocks, tuple) and (not blocks or len(set(blocks)) != len(blocks)):
            raise ValueError(f"interventions.{info.field_name} must name distinct blocks, got {list(blocks)}")
        if isinstance(blocks, tuple) and TRACED in blocks:
            raise ValueError(f"interventions.{info.field_name}: {TRACED!r} stands alone or not at all: {list(blocks)}")
        return blocks

    @field_validator("controls")
    @classmethod
    def _known(cls, controls: tuple[str, ...]) -> tuple[str, ...]:
        for control in controls:
            if control not in CONTROLS:
                near = difflib.get_close_matches(control, CONTROLS, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"interventions.controls: no control {control!r}{hint} (known: {', '.join(CONTROLS)})")
        if RANDOM not in controls or len(set(controls)) != len(controls):
            raise ValueError(
                f"interventions.controls must be distinct and hold {RANDOM!r}, which strengths are chosen against; got "
                f"{list(controls)}"
            )
        return controls

    @field_validator("spatial_strengths", "global_strengths")
    @classmethod
    def _positive(cls, strengths: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if not strengths or min(strengths) <= 0 or len(set(strengths)) != len(strengths):
            raise ValueError(
                f"interventions.{info.field_name} must be distinct positive numbers, got {list(strengths)}"
            )
        return strengths

    @model_validator(mode="after")
    def _picked_for_a_time(self) -> InterventionSettings:
        if not self.style_cids:
            return self
        if self.transfer_from is None:
            raise ValueError(
                "interventions.style_cids are CIDs of one time: say in interventions.transfer_from which, or drop them"
            )
        for style, cids in self.style_cids.items():
            if style not in self.styles:
                raise ValueError(f"interventions.style_cids names {style!r}, which is not in interventions.styles")
            if not cids or min(cids) < 0 or len(set(cids)) != len(cids):
                raise ValueError(f"interventions.style_cids.{style} must be distinct CIDs from 0, got {list(cids)}")
        return self
