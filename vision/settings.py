"""How images are annotated."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MiniSettings(BaseModel):
    """The learned segmenter of the scene world."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="Folder with config.json and model.safetensors.")
    min_area: float = Field(0.006, ge=0, lt=1, description="Smallest part of the image a region may be; 25 px of 4096.")
    min_score: float = Field(0.5, ge=0, le=1, description="Smallest mean probability of a region's own class.")
    style_score: float = Field(0.5, ge=0, le=1, description="Smallest probability for a style to become a segment.")


class TransformersSettings(BaseModel):
    """Grounding DINO boxes, SAM masks, a tagger, and CLIPSeg + CLIP as the judge. Thresholds: notes of the field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: str = Field("IDEA-Research/grounding-dino-tiny", description="Grounding DINO folder or hub id.")
    segmenter: str = Field("facebook/sam-vit-huge", description="SAM folder or hub id.")
    tagger: Literal["caption", "clip"] = Field(
        "caption", description="'caption': vocabulary words in the caption; 'clip': zero-shot over the vocabulary."
    )
    clip: str | None = Field(None, description="CLIP folder or hub id for the 'clip' tagger.")
    judge_clipseg: str | None = Field(None, description="CLIPSeg folder or hub id: where an edited object is.")
    judge_clip: str | None = Field(None, description="CLIP folder or hub id: how much of a style an image has.")
    device: str = Field("cpu", description="torch device of all vision models.")
    tag_score: float = Field(0.2, ge=0, le=1, description="Smallest zero-shot probability of a tag.")
    box_score: float = Field(0.30, ge=0, le=1, description="Smallest score of a tag's token span in a box.")
    nms_iou: float = Field(0.5, ge=0, le=1, description="Boxes of one label that overlap more are one.")
    mask_score: float = Field(0.6, ge=0, le=1, description="Smallest IoU that SAM predicts for its own mask.")
    min_area: float = Field(0.001, ge=0, lt=1, description="Smallest part of the image a mask may be.")
    max_box: float = Field(0.95, gt=0, le=1, description="Larger boxes say 'the whole image' and are dropped.")
    merge_iou: float = Field(0.9, ge=0, le=1, description="Masks of one label that overlap more are one.")


class VisionSettings(BaseModel):
    """Which backend annotates the images, and over which words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["mini", "transformers"] = Field(description="'mini' for the scene world, else 'transformers'.")
    mini: MiniSettings | None = None
    transformers: TransformersSettings | None = None
    vocabulary: tuple[str, ...] = Field((), description="Words the taggers of the transformers backend may use.")

    @model_validator(mode="after")
    def _complete(self) -> VisionSettings:
        if getattr(self, self.backend) is None:
            raise ValueError(f"vision.backend is {self.backend!r}, so the group vision.{self.backend} must be given")
        if self.backend == "transformers" and not self.vocabulary:
            raise ValueError("vision.vocabulary is empty: the transformers backend needs the words to look for")
        return self
