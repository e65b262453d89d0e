"""Tables of prompts, images and what is segmented in them, one part a shard."""

from __future__ import annotations

import pyarrow as pa

from storage.declaring import BYTES, FLOAT32, INT32, INT64, TEXT, Table, column, common

TABLES = (
    Table(
        "prompts",
        "The captions of the study, filtered, without duplicates and dealt to the splits.",
        key=("prompt_id",),
        writers=("plan",),
        columns=(
            common("prompt_id"),
            column("caption", TEXT, "The caption, Unicode-normalised (NFKC)."),
            column(
                "split",
                TEXT,
                "What the prompt is for: train (SAEs), dictionary (labels), layout or style (edits).",
            ),
            column("source_file", TEXT, "File that the caption comes from."),
            column("source_row", INT64, "Row of the caption in that file, from 0."),
            column("n_tokens", INT32, "Tokens of the caption in the text encoder, begin and end included."),
            column("seed", INT64, "Seed of the prompt's initial noise, 63 bits."),
        ),
    ),
    Table(
        "images",
        "The image that the model made of each prompt; of the train split only those of the study's first eight, "
        "unless `sampling.train_images` is set.",
        key=("prompt_id",),
        writers=("collect",),
        columns=(
            common("prompt_id"),
            column("image", BYTES, "The image as PNG bytes."),
            column("width", INT32, "Width in pixels."),
            column("height", INT32, "Height in pixels."),
            column("sha256", TEXT, "SHA-256 of the image bytes, hexadecimal."),
        ),
    ),
    Table(
        "tags",
        "Labels that the tagger offers for each image, before anything is located.",
        key=("prompt_id", "label"),
        writers=("tag",),
        columns=(
            common("prompt_id"),
            common("label"),
            column("score", FLOAT32, "Confidence of the tagger in the label, in [0, 1]."),
            column("tagger", TEXT, "Name of the tagger."),
        ),
    ),
    Table(
        "boxes",
        "Boxes of the detector for each tagged label.",
        key=("prompt_id", "box_id"),
        writers=("detect",),
        columns=(
            common("prompt_id"),
            column("box_id", INT32, "Number of the box in its image, from 0."),
            common("label"),
            column("score", FLOAT32, "Confidence of the detector that the box holds the label, in [0, 1]."),
            common("tag_score"),
            common("box"),
        ),
    ),
    Table(
        "segments",
        "Labelled masks of each image, as run lengths.",
        key=("prompt_id", "segment_id"),
        writers=("segment",),
        columns=(
            common("prompt_id"),
            column("segment_id", INT32, "Number of the segment in its image, from 0."),
            common("label"),
            column("backend", TEXT, "Name of the vision backend that made the segment."),
            common("tag_score"),
            column("box_score", FLOAT32, "Confidence of the detector that the box holds the label, in [0, 1]."),
            column("mask_score", FLOAT32, "Confidence of the segmenter in the mask, in [0, 1]."),
            common("box"),
            common("area_px"),
            column(
                "rle_counts",
                pa.list_(INT32),
                "The mask as COCO's uncompressed run lengths: columns first, beginning with the pixels outside.",
            ),
            column("rle_size", pa.list_(INT32, 2), "Height and width of the mask in pixels."),
            column(
                "iou_ceiling",
                pa.list_(pa.struct([("grid", TEXT), ("value", FLOAT32)])),
                "For each grid of the study, the largest IoU that any set of its cells can reach with the mask.",
            ),
            column(
                "second_opinion",
                FLOAT32,
                "IoU, in [0, 1], of all that the image has of this label with an independent model's region of it; "
                "null where no second opinion is configured.",
                null=True,
            ),
        ),
    ),
    Table(
        "label_cells",
        "For each image, grid and label, the union mask of the label's segments as pixels per grid cell.",
        key=("prompt_id", "grid", "label"),
        writers=("areas",),
        columns=(
            common("prompt_id"),
            common("grid"),
            common("label"),
            column("area_px", INT64, "Pixels of the union mask."),
            column("cells", pa.list_(INT32), "Cells that the mask touches, ascending: row-major numbers from 0."),
            column("pixels", pa.list_(INT32), "Pixels of the mask in each of those cells."),
            column(
                "iou_ceiling",
                FLOAT32,
                "Largest IoU, in [0, 1], that any set of the grid's cells can reach with the union mask.",
            ),
        ),
    ),
    Table(
        "cell_colours",
        "Mean colour of every grid cell of each image.",
        key=("prompt_id", "grid"),
        writers=("areas",),
        columns=(
            common("prompt_id"),
            common("grid"),
            column(
                "rgb",
                BYTES,
                "Mean colour of each cell: uint8 bytes, [cells, 3], cells row-major, channels R, G, B.",
            ),
        ),
    ),
)
