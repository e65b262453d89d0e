"""The table that lies beside a study and not in it: edits that users ask for by themselves.

A study's own tables are what its stages write: two runs of one configuration have equal ones, `verify` compares them
with the stages' records, one command at a time writes them, and a revised study loses those that no longer follow from
its settings. An edit that somebody tries is none of that. It goes into a folder of its own, so that a study which
others own or write can be edited, by several at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.atomic import write_atomic
from storage.declaring import BOOL, FLOAT64, INT32, INT64, TEXT, Table, column
from storage.errors import StorageError

_WHOSE = {"before": "the unedited image", "after": "the edited image", "control": "the control's image"}

# Of one part of an edit.
_PART = (
    column("concept", TEXT, "What is edited in, as it was asked for: labels and numbers of concepts."),
    column("instead_of", TEXT, "What replace takes away, likewise; null for other operations.", null=True),
    column("operation", TEXT, "What is done: place, add, ablate, replace or clamp."),
    column(
        "strength",
        FLOAT64,
        "Of add and place the norm that is added, in units of the block's RMS residual-update norm; of the others "
        "how much of it is done, 1 for all.",
    ),
    column(
        "schedule", TEXT, "Factors on the strength by diffusion time, as they were asked for; null for none.", null=True
    ),
    column("quantile", FLOAT64, "Of clamp: the quantile of its activations that each concept is turned to.", null=True),
    column("half", TEXT, "Half of classifier-free guidance that is edited: cond, or both."),
    column("window", TEXT, "Window as it was asked for: a name, or times."),
    column("t_low", FLOAT64, "Diffusion time after which the edit acts no more, in [0, 1]."),
    column("t_high", FLOAT64, "Diffusion time from which it acts, in [0, 1]."),
    column("t", FLOAT64, "Time of the SAEs whose concepts are edited, in [0, 1]."),
    column("region", TEXT, "Where the edit acts, as it was asked for; everywhere without a region."),
    column("feather", FLOAT64, "Softness of the region's edge: standard deviation in pixels."),
    column("sites", pa.list_(TEXT), "Sites that are edited, each by its own concepts, as in mid/1.00/cond."),
    column("cids", pa.list_(pa.list_(INT32)), "Concepts edited at each of the sites, best first."),
    column("instead_cids", pa.list_(pa.list_(INT32)), "Concepts taken away at each of them by replace."),
    column(
        "levels",
        pa.list_(pa.list_(FLOAT64)),
        "Activations that clamp turns them to at each of the sites, in the SAE's units; empty for other operations.",
    ),
    column(
        "unit_norms",
        pa.list_(FLOAT64),
        "Unit of strengths at each of them: RMS norm of the site's residual updates over the train split.",
    ),
)

EDITS = Table(
    "edits",
    "One edit that a user asked for, a row a part, beside its three pictures: `concepts edit`.",
    key=("edit",),
    writers=(),
    columns=(
        column(
            "edit", TEXT, "Name of the edit and of its folder; its end is a digest of all that the edit follows from."
        ),
        column("study", TEXT, "Name of the study."),
        column("config_hash", TEXT, "Hash of the study's configuration."),
        column("prompt", TEXT, "Caption of the image."),
        column("seed", INT64, "Seed of the image's initial noise, the same of all three."),
        *_PART,
        column(
            "more_parts",
            pa.list_(pa.struct(_PART)),
            "The further parts of an edit of several, each with the columns from concept to unit_norms, which are of "
            "the first; empty for one part.",
        ),
        column("controls", INT64, "Random directions of the same norm that were tried; the first one's image is kept."),
        column("judged", TEXT, "Label that the judge was asked for; null without a score.", null=True),
        *(
            column(
                f"score_{name}",
                FLOAT64,
                f"Of {whose}: the judge's probability of a look, or its largest of an object at a pixel of the region, "
                "in [0, 1].",
                null=True,
            )
            for name, whose in _WHOSE.items()
        ),
        column("score_control_mean", FLOAT64, "Mean of that score over all controls; null without one.", null=True),
        *(
            column(
                f"score_control_{end}",
                FLOAT64,
                f"{100 * at:g} % quantile of that score over all controls; null for fewer than two.",
                null=True,
            )
            for end, at in (("low", 0.025), ("high", 0.975))
        ),
        column(
            "above_controls", FLOAT64, "Share of the controls whose score the edit's exceeds, in [0, 1].", null=True
        ),
        *(
            column(
                f"placed_{name}",
                BOOL,
                f"Of {whose}: whether the object's centre of mass is in the region; null without one, and for looks.",
                null=True,
            )
            for name, whose in _WHOSE.items()
        ),
        column(
            "placed_controls",
            FLOAT64,
            "Share of the controls of which it is, in [0, 1]; null where placed_control is.",
            null=True,
        ),
        *(
            column(
                f"{prefix}change_{side}",
                FLOAT64,
                f"Mean absolute change of pixels {side} the region by {whose}, in [0, 1]"
                + ("; null if nothing is." if side == "outside" else ", or of all."),
                null=side == "outside",
            )
            for prefix, whose in (("", "the edit"), ("control_", "its control"))
            for side in ("inside", "outside")
        ),
        *(
            column(
                f"{name}_{picture}",
                FLOAT64,
                f"How far {whose} drives the updates {where} off what is usual there: mean Mahalanobis distance over "
                "positions and the window's steps, as a multiple of the unedited run's; null where the study's "
                f"activations are not there{more}.",
                null=True,
            )
            for name, where, more in (
                ("off_distribution", "of the edited sites", ""),
                ("off_downstream", "of the study's other blocks behind the first of them", ", or no such block is"),
            )
            for picture, whose in (("after", "the edit"), ("control", "its control"))
        ),
        column("cautions", pa.list_(TEXT), "Sentences on what may surprise; empty where nothing should."),
        *(column(f"{name}_sha256", TEXT, f"SHA-256 of the PNG of {whose}.") for name, whose in _WHOSE.items()),
    ),
)


def write_row(path: Path, table: Table, row: dict[str, Any]) -> None:
    """Write a part of one row, whole or not at all. Raises ``StorageError`` if it does not fit the table."""
    try:
        data = pa.Table.from_pylist([row], schema=table.schema)
        data.validate(full=True)
        missing = [field.name for field in table.schema if not field.nullable and data[field.name].null_count]
        if missing or set(row) != set(table.schema.names):
            odd = missing or sorted(set(row) ^ set(table.schema.names))
            raise StorageError(f"a row for table {table.name!r} does not fit its schema: {', '.join(odd)}")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StorageError(f"a row for table {table.name!r} does not fit its schema: {error}") from error
    buffer = pa.BufferOutputStream()
    pq.write_table(data, buffer, compression="zstd", write_page_checksum=True)
    write_atomic(path, buffer.getvalue().to_pybytes())


def read_row(path: Path, table: Table) -> dict[str, Any] | None:
    """The row of such a part; None if there is none, or if it is not what was written."""
    try:
        rows = pq.read_table(path, schema=table.schema, page_checksum_verification=True).to_pylist()
    except (OSError, pa.ArrowInvalid):
        return None
    return rows[0] if len(rows) == 1 else None
