"""How images are annotated."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

OWN_TAGGERS = ("caption", "fixed", "zero-shot")
PLUGIN = "plugin:"  # before the name of a tagger that an installed package offers


class MiniSettings(BaseModel):
    """The learned segmenter of the scene world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Folder with config.json and model.safetensors.")
    min_area: float = Field(0.006, ge=0, lt=1, description="Smallest part of the image a region may be; 25 px of 4096.")
    min_score: float = Field(0.5, ge=0, le=1, description="Smallest mean probability of a region's own class.")
    style_score: float = Field(0.5, ge=0, le=1, description="Smallest probability for a style to become a segment.")
    second_path: str | None = Field(
        None, description="Folder of a second network with another body, for a second opinion on each segment; or none."
    )
    batch_size: int = Field(
        64, ge=1, description="Images in the network at once: about 100 MB of features; more is not faster on a CPU."
    )


class TransformersSettings(BaseModel):
    """Detector, segmenter, tagger, second opinion and judge from folders or hub ids, each of the kind its config names.

    Thresholds start from what is customary for Grounding DINO and SAM.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str = Field(
        "IDEA-Research/grounding-dino-tiny",
        description="Folder or hub id of a Grounding DINO, MM-Grounding-DINO or OWLv2; its config.json says which.",
    )
    segmenter: str = Field(
        "facebook/sam-vit-huge", description="Folder or hub id of a SAM or SAM 2; its config.json says which."
    )
    tagger: str = Field(
        "caption",
        description="'caption': vocabulary words that the caption names (no model needed, hence the default); 'fixed': "
        "every word for every image; 'zero-shot': words that CLIP or SigLIP finds in the image; 'plugin:NAME': the "
        "tagger NAME that an installed package offers.",
    )
    clip: str | None = Field(None, description="CLIP or SigLIP folder or hub id for the 'zero-shot' tagger.")
    judge_clipseg: str | None = Field(None, description="CLIPSeg folder or hub id: where an edited object is.")
    judge_clip: str | None = Field(None, description="CLIP or SigLIP folder or hub id: how much of a style there is.")
    second_opinion: str | None = Field(
        None, description="CLIPSeg folder or hub id that confirms each segment; none leaves segments unconfirmed."
    )
    device: str = Field("cpu", description="torch device of all vision models: 'cpu', 'cuda', 'cuda:0'.")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float32",
        description="Type of the encoders' matrix products. Weights stay float32, and so do the heads that read and "
        "write coordinates: in bfloat16 a corner would be off by up to 4 pixels of 1024. float32 is exact, hence the "
        "default; bfloat16 suits GPUs, float16 those without bfloat16.",
    )
    batch_size: int = Field(
        1,
        ge=1,
        description="Images in a model at once. 1 fits any card and is as fast on a CPU; take more on a GPU.",
    )
    boxes_at_once: int = Field(
        32, ge=1, description="Boxes of an image that become masks at once: 32 masks of 1024 x 1024 float32 are 128 MB."
    )
    prompt_template: str = Field(
        "a photo of a {}",
        description="Sentence in which CLIP, SigLIP and OWLv2 read a label, {} being the label; the one most used with "
        "them. Grounding DINO and CLIPSeg read the bare label.",
    )
    tag_score: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Smallest zero-shot probability of a tag whose vocabulary line has no threshold of its own. CLIP's "
        "is a share of the vocabulary (softmax), SigLIP's stands by itself (sigmoid).",
    )
    box_score: float = Field(
        0.30,
        ge=0,
        le=1,
        description="Smallest score of a label in a box. 0.30 suits Grounding DINO; for OWLv2 0.1 is usual.",
    )
    nms_iou: float = Field(0.5, ge=0, le=1, description="Boxes of one label that overlap more are one.")
    mask_score: float = Field(0.6, ge=0, le=1, description="Smallest IoU that SAM predicts for its own mask.")
    min_area: float = Field(0.001, ge=0, lt=1, description="Smallest part of the image a mask may be.")
    max_box: float = Field(0.95, gt=0, le=1, description="Larger boxes say 'the whole image' and are dropped.")
    merge_iou: float = Field(0.9, ge=0, le=1, description="Masks of one label that overlap more are one.")

    @model_validator(mode="after")
    def _sensible(self) -> TransformersSettings:
        if self.tagger not in OWN_TAGGERS and not self.tagger_plugin:
            known = ", ".join(map(repr, OWN_TAGGERS))
            raise ValueError(f"vision.transformers.tagger is {self.tagger!r}: give {known} or '{PLUGIN}NAME'")
        if self.prompt_template.count("{}") != 1:
            raise ValueError(
                f"vision.transformers.prompt_template is {self.prompt_template!r}: it needs one {{}} for the label"
            )
        return self

    @property
    def tagger_plugin(self) -> str | None:
        """Name of the plug-in tagger, or None."""
        return self.tagger.removeprefix(PLUGIN) if self.tagger.startswith(PLUGIN) else None


class VisionSettings(BaseModel):
    """Which backend annotates the images, and over which words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: str = Field(
        description="'mini' for the scene world, 'transformers', or a backend that an installed package offers in the "
        "entry point group concept_atlas.vision."
    )
    mini: MiniSettings | None = Field(None, description="Settings of the backend 'mini'.")
    transformers: TransformersSettings | None = Field(None, description="Settings of the backend 'transformers'.")
    plugin: dict[str, Any] = Field({}, description="Settings of a plug-in backend or tagger, which checks them itself.")
    vocabulary: tuple[str, ...] = Field((), description="Labels that the taggers may use.")
    vocabulary_file: str | None = Field(
        None, description="File of labels, one a line, each with a threshold after a tab if it has its own; or none."
    )

    @model_validator(mode="after")
    def _complete(self) -> VisionSettings:
        if self.backend in ("mini", "transformers") and getattr(self, self.backend) is None:
            raise ValueError(f"vision.backend is {self.backend!r}, so the group vision.{self.backend} must be given")
        if self.vocabulary and self.vocabulary_file:
            raise ValueError("vision.vocabulary and vision.vocabulary_file are both given: keep one of them")
        if self.backend == "transformers":
            self._transformers_consistent()
        if self.backend == "mini" and self.plugin:
            raise ValueError("vision.plugin is given, but vision.backend 'mini' reads no plug-in settings: drop it")
        return self

    def _transformers_consistent(self) -> None:
        assert self.transformers is not None
        plugged = self.transformers.tagger_plugin
        if not plugged and not self.vocabulary and not self.vocabulary_file:
            raise ValueError(
                "vision.vocabulary is empty: the transformers backend needs the words to look for, "
                "there or in vision.vocabulary_file"
            )
        if not plugged and self.plugin:
            raise ValueError(
                f"vision.plugin is given, but neither vision.backend nor vision.transformers.tagger "
                f"({self.transformers.tagger!r}) is a plug-in: drop it"
            )

    def __hash__(self) -> int:
        """Frozen settings are keys of caches; ``plugin`` is a mapping, which has no hash of its own."""
        return hash(self.model_dump_json())
