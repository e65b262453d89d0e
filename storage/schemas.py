"""Every table's Arrow schema, key and order on disk, declared once. What they mean is said in ``descriptions``."""

from __future__ import annotations

import pyarrow as pa

from storage.descriptions import described

_SITE = [("block", pa.string()), ("t", pa.float64()), ("conditioning", pa.string()), ("k", pa.int32())]
_CONCEPT = [
    ("cid", pa.int32()),
    ("alive", pa.bool_()),
    ("density", pa.float64()),
    ("act_mean", pa.float64()),
    ("act_max", pa.float64()),
    ("n_images", pa.int64()),
    ("top_label", pa.string()),
]
_SITE_KEY = ("block", "t", "conditioning", "k")


def _schema(*fields: tuple[str, pa.DataType], nullable: tuple[str, ...] = ()) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in nullable) for name, kind in fields])


_FIELDS: dict[str, pa.Schema] = {
    "prompts": _schema(
        ("prompt_id", pa.int64()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("source_file", pa.string()),
        ("source_row", pa.int64()),
        ("n_tokens", pa.int32()),
        ("seed", pa.int64()),
    ),
    "images": _schema(
        ("prompt_id", pa.int64()),
        ("image", pa.binary()),  # PNG
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
    ),
    "tags": _schema(
        ("prompt_id", pa.int64()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("tagger", pa.string()),
    ),
    "boxes": _schema(
        ("prompt_id", pa.int64()),
        ("box_id", pa.int32()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("tag_score", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 in pixels
    ),
    "segments": _schema(
        ("prompt_id", pa.int64()),
        ("segment_id", pa.int32()),
        ("label", pa.string()),
        ("backend", pa.string()),
        ("tag_score", pa.float32()),
        ("box_score", pa.float32()),
        ("mask_score", pa.float32()),
        ("box", pa.list_(pa.float32(), 4)),  # x0, y0, x1, y1 in pixels
        ("area_px", pa.int64()),
        ("rle_counts", pa.list_(pa.int32())),  # COCO's uncompressed run lengths, column-major
        ("rle_size", pa.list_(pa.int32(), 2)),  # height, width
        ("iou_ceiling", pa.list_(pa.struct([("grid", pa.string()), ("value", pa.float32())]))),
        ("second_opinion", pa.float32()),
        nullable=("second_opinion",),
    ),
    "label_cells": _schema(
        ("prompt_id", pa.int64()),
        ("grid", pa.string()),
        ("label", pa.string()),
        ("area_px", pa.int64()),
        ("cells", pa.list_(pa.int32())),
        ("pixels", pa.list_(pa.int32())),
        ("iou_ceiling", pa.float32()),
    ),
    "cell_colours": _schema(
        ("prompt_id", pa.int64()),
        ("grid", pa.string()),
        ("rgb", pa.binary()),  # uint8 [cells, 3], row-major
    ),
    "sae_metrics": _schema(
        *_SITE,
        ("expansion", pa.int32()),
        ("seed", pa.int64()),
        ("kind", pa.string()),  # trained, untrained, frozen, shared
        ("explained_variance", pa.float64()),
        ("fvu", pa.float64()),
        ("scaled_mse", pa.float64()),
        ("l0", pa.float64()),
        ("dead_fraction", pa.float64()),
        ("density_histogram", pa.list_(pa.int64())),  # latents by how often they fire: < 1e-6, then half decades
        ("stability", pa.float64()),  # of a further seed: mean cosine to the first seed's concepts, matched
        ("n_vectors", pa.int64()),
        ("n_train_vectors", pa.int64()),
        ("steps", pa.int64()),
        ("gamma", pa.float64()),
        nullable=("stability",),
    ),
    "concept_matches": _schema(
        ("block", pa.string()),
        ("conditioning", pa.string()),
        ("k", pa.int32()),
        ("kind", pa.string()),  # trained: SAEs of single times; shared: the SAE of all times, cid_to = cid_from
        ("t_from", pa.float64()),
        ("t_to", pa.float64()),
        ("cid_from", pa.int32()),
        ("chosen_by", pa.string()),  # cosine, coactivation or identity
        ("cid_to", pa.int32()),
        ("cosine", pa.float64()),
        ("coactivation", pa.float64()),  # Jaccard of (prompt, position) pairs where each fires
        ("coactivation_shuffled", pa.float64()),  # the same with t_to read from another prompt
        ("n_both", pa.int64()),
        ("mutual", pa.bool_()),  # cid_from is also the choice of cid_to
    ),
    "shared_concepts": _schema(
        *_SITE,
        *_CONCEPT,
        ("iou", pa.float64()),
        ("iou_selection", pa.float64()),
        ("iou_heldout", pa.float64()),
        ("iou_heldout_se", pa.float64()),
        nullable=("top_label", "iou", "iou_selection", "iou_heldout", "iou_heldout_se"),
    ),
    "concepts": _schema(
        *_SITE,
        *_CONCEPT,
        ("embedding", pa.list_(pa.float32())),
        ("context_free_score", pa.float64()),
        ("decoder_norm", pa.float64()),
        ("cohesion", pa.float64()),
        ("parent", pa.string()),
        ("coverage", pa.float64()),
        ("coverage_sd", pa.float64()),
        ("position_selectivity", pa.float64()),
        ("colour_selectivity", pa.float64()),
        ("colour", pa.list_(pa.float32(), 3)),
        nullable=(
            "top_label",
            "embedding",
            "context_free_score",
            "cohesion",
            "parent",
            "coverage",
            "coverage_sd",
            "position_selectivity",
            "colour_selectivity",
            "colour",
        ),
    ),
    "concept_labels": _schema(
        *_SITE,
        ("kind", pa.string()),
        ("cid", pa.int32()),
        ("label", pa.string()),
        ("iou", pa.float64()),
        ("iou_se", pa.float64()),
        ("iou_selection", pa.float64()),
        ("iou_heldout", pa.float64()),
        ("iou_heldout_se", pa.float64()),
        ("iou_copresent", pa.float64()),
        ("precision", pa.float64()),
        ("precision_heldout", pa.float64()),
        ("recall", pa.float64()),
        ("lift", pa.float64()),
        ("lift_selection", pa.float64()),
        ("n_co", pa.int64()),
        ("n_co_selection", pa.int64()),
        ("n_hit50", pa.int64()),
        ("ceiling", pa.float64()),
        ("p_value", pa.float64()),
        ("q_value", pa.float64()),
        ("assigned", pa.bool_()),
        ("paper_assigned", pa.bool_()),
        nullable=("iou_heldout", "iou_heldout_se", "precision_heldout", "lift", "lift_selection"),
    ),
    "label_controls": _schema(
        *_SITE,
        ("kind", pa.string()),
        ("n_concepts", pa.int64()),
        ("n_alive", pa.int64()),
        ("n_labelled", pa.int64()),
        ("n_labels", pa.int64()),
        ("n_assigned", pa.int64()),
        ("n_paper_assigned", pa.int64()),
        ("n_paper_labelled", pa.int64()),
        ("n_tests", pa.int64()),
        ("label_iou", pa.float64()),
        ("label_iou_ci_low", pa.float64()),
        ("label_iou_ci_high", pa.float64()),
        ("label_ceiling", pa.float64()),
        ("cohesion", pa.float64()),
        ("separability", pa.float64()),
        nullable=("label_iou", "label_iou_ci_low", "label_iou_ci_high", "label_ceiling", "cohesion", "separability"),
    ),
    "concept_examples": _schema(
        *_SITE,
        ("cid", pa.int32()),
        ("bin", pa.int32()),
        ("rank", pa.int32()),
        ("prompt_id", pa.int64()),
        ("act_max", pa.float32()),
        ("map_indices", pa.list_(pa.int32())),
        ("map_values", pa.list_(pa.float32())),
        ("grid", pa.list_(pa.int32(), 2)),
    ),
    "layout_scores": _schema(
        *_SITE,
        ("label", pa.string()),  # "*" = mean over labels
        ("method", pa.string()),
        ("threshold", pa.float64()),
        ("iou", pa.float64()),
        ("iou_ci_low", pa.float64()),
        ("iou_ci_high", pa.float64()),
        ("n", pa.int64()),
        nullable=("threshold",),
    ),
    "interventions": _schema(
        ("prompt_id", pa.int64()),
        ("kind", pa.string()),
        ("block", pa.string()),
        ("t", pa.float64()),
        ("window", pa.string()),
        ("target", pa.string()),
        ("cid_count", pa.int32()),
        ("region", pa.string()),
        ("strength", pa.float64()),
        ("control", pa.string()),
        ("seed", pa.int64()),
        ("success", pa.bool_()),
        ("effect", pa.float64()),
        ("outside_change", pa.float64()),
        ("objects_kept", pa.float64()),
        ("image", pa.binary()),
        nullable=("objects_kept", "image"),
    ),
    "calibrations": _schema(
        ("kind", pa.string()),
        ("window", pa.string()),
        ("target", pa.string()),
        ("strength", pa.float64()),
        ("success", pa.float64()),
        ("random_success", pa.float64()),
        ("effect", pa.float64()),
        ("outside_change", pa.float64()),
        ("n", pa.int64()),
    ),
    "intervention_effects": _schema(
        ("kind", pa.string()),
        ("window", pa.string()),
        ("control", pa.string()),
        ("target", pa.string()),  # "*" = all
        ("cases", pa.string()),  # all, or new: those that did not succeed unedited
        ("strength", pa.float64()),
        ("success", pa.float64()),
        ("success_ci_low", pa.float64()),
        ("success_ci_high", pa.float64()),
        ("above_random", pa.float64()),
        ("above_random_ci_low", pa.float64()),
        ("above_random_ci_high", pa.float64()),
        ("effect", pa.float64()),
        ("outside_change", pa.float64()),
        ("objects_kept", pa.float64()),
        ("n", pa.int64()),
        ("n_prompts", pa.int64()),
        nullable=(
            "success_ci_low",
            "success_ci_high",
            "above_random",
            "above_random_ci_low",
            "above_random_ci_high",
            "objects_kept",
        ),
    ),
    "bench": _schema(
        *_SITE,
        ("snr", pa.float64()),  # signal to noise of the images at this time
        ("method", pa.string()),
        ("scope", pa.string()),  # image: is the label there; cell: does it cover half of a grid cell
        ("kind", pa.string()),  # of the label; "*" = all
        ("label", pa.string()),  # "*" = mean over the kind's labels
        ("cid", pa.int32()),
        ("threshold", pa.float64()),
        *(
            (f"{name}{end}", pa.float64())
            for name in ("precision", "recall", "f1")
            for end in ("", "_ci_low", "_ci_high")
        ),
        ("f1_chosen", pa.float64()),  # where the detector was chosen: what picks a site or a method
        ("prevalence", pa.float64()),
        ("n_positive", pa.int64()),
        ("splitting", pa.float64()),  # features that the label is split over; a mean in mean rows
        ("absorption", pa.float64()),  # of a parent: how often it is silent where a child's detector fires rightly
        ("absorption_base", pa.int64()),
        nullable=("cid", "threshold", "splitting", "absorption", "absorption_base"),
    ),
    "runs": _schema(
        ("run_id", pa.string()),
        ("stage", pa.string()),
        ("started", pa.timestamp("us", "UTC")),
        ("ended", pa.timestamp("us", "UTC")),
        ("config_hash", pa.string()),
        ("git_sha", pa.string()),
        ("versions", pa.string()),  # JSON
        nullable=("git_sha",),
    ),
}

KEYS: dict[str, tuple[str, ...]] = {
    "prompts": ("prompt_id",),
    "images": ("prompt_id",),
    "tags": ("prompt_id", "label"),
    "boxes": ("prompt_id", "box_id"),
    "segments": ("prompt_id", "segment_id"),
    "label_cells": ("prompt_id", "grid", "label"),
    "cell_colours": ("prompt_id", "grid"),
    "sae_metrics": (*_SITE_KEY, "expansion", "seed", "kind"),
    "concept_matches": ("block", "conditioning", "k", "kind", "t_from", "t_to", "cid_from", "chosen_by"),
    "shared_concepts": (*_SITE_KEY, "cid"),
    "concepts": (*_SITE_KEY, "cid"),
    "concept_labels": (*_SITE_KEY, "kind", "cid", "label"),
    "label_controls": (*_SITE_KEY, "kind"),
    "concept_examples": (*_SITE_KEY, "cid", "bin", "rank"),
    "layout_scores": (*_SITE_KEY, "label", "method"),
    "interventions": ("prompt_id", "kind", "window", "target", "region", "strength", "control", "seed"),
    "calibrations": ("kind", "window", "target", "strength"),
    "intervention_effects": ("kind", "window", "control", "target", "cases"),
    "bench": (*_SITE_KEY, "method", "scope", "kind", "label"),
    "runs": ("run_id", "stage"),
}

# The order of rows within a part, which decides what a reader can skip. A part is one unit's: a shard of images, or one
# (site, k), whose site columns are constant in it, so that whole parts are skipped by their statistics alone. Within a
# part the key's order serves all tables but one: images are read by ranges of prompt ids, concepts by cid.
SORTS: dict[str, tuple[str, ...]] = {
    **KEYS,
    # People ask for a label, and a part holds some hundred thousand rows of all labels: sorted so, a row group answers.
    "concept_labels": ("label", "kind", "cid", *_SITE_KEY),
}

# The stages whose records name parts of a table (`study/stages.py` has the same the other way round).
WRITERS: dict[str, tuple[str, ...]] = {
    "prompts": ("plan",),
    "images": ("collect",),
    "tags": ("tag",),
    "boxes": ("detect",),
    "segments": ("segment",),
    "label_cells": ("areas",),
    "cell_colours": ("areas",),
    "sae_metrics": ("train", "share"),
    "concept_matches": ("match",),
    "shared_concepts": ("label",),
    "concepts": ("label",),
    "concept_labels": ("label",),
    "label_controls": ("label",),
    "concept_examples": ("label",),
    "layout_scores": ("layout",),
    "interventions": ("intervene",),
    "calibrations": ("calibrate",),
    "intervention_effects": ("effects",),
    "bench": ("bench",),
    "runs": ("runs",),
}

SCHEMAS: dict[str, pa.Schema] = {name: described(name, schema, KEYS[name]) for name, schema in _FIELDS.items()}
