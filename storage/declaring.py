"""What a table's declaration is made of: columns and their meaning, a key, an order on disk, its writers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

BOOL, BYTES, TEXT = pa.bool_(), pa.binary(), pa.string()
INT32, INT64, FLOAT32, FLOAT64 = pa.int32(), pa.int64(), pa.float32(), pa.float64()
CI = "end of its 95 % interval"


def column(name: str, dtype: pa.DataType, means: str, null: bool = False) -> pa.Field:
    """A column, its meaning in one sentence in its metadata; without ``null`` every row has a value."""
    return pa.field(name, dtype, nullable=null, metadata={b"description": means.encode()})


@dataclass(frozen=True)
class Table:
    """One table, declared once.

    ``writers``: the stages whose records name its parts. ``sort``: the order of rows within a part, which decides what
    a reader can skip; the key's unless given. A part is one unit's: a shard of images, or one (site, k), whose site
    columns are constant in it, so that whole parts are skipped by their statistics alone.
    """

    name: str
    means: str
    key: tuple[str, ...]
    writers: tuple[str, ...]
    columns: tuple[pa.Field, ...]
    sort: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that a part is sorted by."""
        return self.sort or self.key

    @cached_property
    def schema(self) -> pa.Schema:
        """Of its parts: ``description`` of the table and of each field, and ``key``, are in the metadata."""
        return pa.schema(self.columns, {b"description": self.means.encode(), b"key": ",".join(self.key).encode()})


# Columns that mean the same wherever they occur, if a table does not say otherwise.
_COMMON: dict[str, pa.Field] = {
    field.name: field
    for field in (
        column("prompt_id", INT64, "Number of the prompt in the study, from 0; also of its image."),
        column(
            "block",
            TEXT,
            "Short name of the block whose residual updates the SAE reads, e.g. down, mid or up.",
        ),
        column("t", FLOAT64, "Diffusion time in [0, 1]: 1 is pure noise, 0 the finished image."),
        column("conditioning", TEXT, "Branch of classifier-free guidance: cond (with the caption) or uncond."),
        column("k", INT32, "Latents that the SAE keeps on at each position (top-k)."),
        column("cid", INT32, "Number of the concept: the index of its latent in the SAE, from 0."),
        column("label", TEXT, "The label, e.g. tree."),
        column("alive", BOOL, "Whether the concept fires anywhere in the dictionary split."),
        column(
            "density", FLOAT64, "Share of the dictionary split's grid positions where the concept fires, in [0, 1]."
        ),
        column(
            "act_mean",
            FLOAT64,
            "Mean activation where the concept fires, in the SAE's units; 0 for one that never does.",
        ),
        column(
            "act_max",
            FLOAT64,
            "Largest activation over the dictionary split, in the SAE's units; 0 for a concept that never fires.",
        ),
        column("n_images", INT64, "Images of the dictionary split in which the concept fires anywhere."),
        column(
            "top_label",
            TEXT,
            "Assigned label of highest IoU on the selection half (even prompt ids); null without one.",
        ),
        column("tag_score", FLOAT32, "Confidence of the tagger in the label, in [0, 1]."),
        column("box", pa.list_(FLOAT32, 4), "Box in pixels: x0, y0, x1, y1, ends exclusive."),
        column("area_px", INT64, "Pixels of the mask."),
        column("grid", TEXT, "Grid of the block's positions over the image, rows x columns, e.g. 8x8."),
        column("window", TEXT, "Window of diffusion times in which the edit acts, e.g. early, middle or final."),
        column("target", TEXT, "Object (spatial edits) or style (global edits) that is edited in."),
        column(
            "strength",
            FLOAT64,
            "Norm that the edit adds, in units of the site's RMS residual-update norm or, if the settings scale edits "
            "by the code's norm, of that; 0 for unedited images.",
        ),
    )
}


def common(name: str, null: bool = False) -> pa.Field:
    """A column that means the same in every table that has it."""
    return _COMMON[name].with_nullable(null)


SITE_KEY = ("block", "t", "conditioning", "k")
SITE = tuple(common(name) for name in SITE_KEY)
CONCEPT = (
    *(common(name) for name in ("cid", "alive", "density", "act_mean", "act_max", "n_images")),
    common("top_label", null=True),
)
