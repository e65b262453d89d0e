"""What every table and column means, in words: the metadata of the Parquet files and the page docs/tables.md.

python -m storage.descriptions > docs/tables.md
"""

from __future__ import annotations

import sys

import pyarrow as pa

_CI = "end of its 95 % interval"

# Columns that mean the same wherever they occur; a table's own entry in COLUMNS goes before.
COMMON: dict[str, str] = {
    "prompt_id": "Number of the prompt in the study, from 0; also of its image.",
    "block": "Short name of the block whose residual updates the SAE reads, e.g. down, mid or up.",
    "t": "Diffusion time in [0, 1]: 1 is pure noise, 0 the finished image.",
    "conditioning": "Branch of classifier-free guidance: cond (with the caption) or uncond.",
    "k": "Latents that the SAE keeps on at each position (top-k).",
    "cid": "Number of the concept: the index of its latent in the SAE, from 0.",
    "label": "The label, e.g. tree.",
    "alive": "Whether the concept fires anywhere in the dictionary split.",
    "density": "Share of the dictionary split's grid positions where the concept fires, in [0, 1].",
    "act_mean": "Mean activation where the concept fires, in the SAE's units; 0 for one that never does.",
    "act_max": "Largest activation over the dictionary split, in the SAE's units; 0 for a concept that never fires.",
    "n_images": "Images of the dictionary split in which the concept fires anywhere.",
    "top_label": "Assigned label of highest IoU on the selection half (even prompt ids); null without one.",
    "score": "The model's confidence, in [0, 1].",
    "tag_score": "Confidence of the tagger in the label, in [0, 1].",
    "box": "Box in pixels: x0, y0, x1, y1, ends exclusive.",
    "area_px": "Pixels of the mask.",
    "grid": "Grid of the block's positions over the image, rows x columns, e.g. 8x8.",
    "window": "Window of diffusion times in which the edit acts, e.g. early, middle or final.",
    "target": "Object (spatial edits) or style (global edits) that is edited in.",
    "strength": "Norm that the edit adds, in units of the site's RMS residual-update norm; 0 for unedited images.",
}

TABLES: dict[str, str] = {
    "prompts": "The captions of the study, filtered, without duplicates and dealt to the splits.",
    "images": "The image that the model made of each prompt; of the train split only those of the study's first eight, "
    "unless `sampling.train_images` is set.",
    "tags": "Labels that the tagger offers for each image, before anything is located.",
    "boxes": "Boxes of the detector for each tagged label.",
    "segments": "Labelled masks of each image, as run lengths.",
    "label_cells": "For each image, grid and label, the union mask of the label's segments as pixels per grid cell.",
    "cell_colours": "Mean colour of every grid cell of each image.",
    "sae_metrics": "How well each SAE reconstructs activations that it was not trained on, with its controls.",
    "concept_matches": "Which concept of one time is which of the next, of the same block.",
    "shared_concepts": "Concepts of the SAE of all times, as they are at each time: one cid is one direction.",
    "concepts": "Concepts of each trained SAE: how often and where they fire, and what they are like.",
    "concept_labels": "Evidence that a concept means a label: pairs of some overlap, and all that either rule takes; "
    "of shuffled_decoder, neurons, pca and shuffled_positions the latter only.",
    "label_controls": "What labelling finds with each dictionary, in a few numbers: the trained one and its controls.",
    "concept_examples": "Images that excite each concept, from the strongest tenth of its images to the weakest.",
    "layout_scores": "How well each label's mask is predicted from one site's codes, beside baselines.",
    "interventions": "Every edited image and its judgement, beside random directions and the unedited images.",
    "calibrations": "What each strength of edit does on prompts of the dictionary split, where strengths are chosen.",
    "intervention_effects": "Success of the edits for each kind, window, control and target, over all cases and over "
    "those that the unedited image does not fulfil, with intervals.",
    "bench": "How well single features detect labels in images of known truth, for every dictionary and baseline.",
    "runs": "One row for each stage that ended well: when, under which configuration and versions.",
}

COLUMNS: dict[str, dict[str, str]] = {
    "prompts": {
        "caption": "The caption, Unicode-normalised (NFKC).",
        "split": "What the prompt is for: train (SAEs), dictionary (labels), layout or style (edits).",
        "source_file": "File that the caption comes from.",
        "source_row": "Row of the caption in that file, from 0.",
        "n_tokens": "Tokens of the caption in the text encoder, begin and end included.",
        "seed": "Seed of the prompt's initial noise, 63 bits.",
    },
    "images": {
        "image": "The image as PNG bytes.",
        "width": "Width in pixels.",
        "height": "Height in pixels.",
        "sha256": "SHA-256 of the image bytes, hexadecimal.",
    },
    "tags": {"score": COMMON["tag_score"], "tagger": "Name of the tagger."},
    "boxes": {
        "box_id": "Number of the box in its image, from 0.",
        "score": "Confidence of the detector that the box holds the label, in [0, 1].",
    },
    "segments": {
        "segment_id": "Number of the segment in its image, from 0.",
        "backend": "Name of the vision backend that made the segment.",
        "box_score": "Confidence of the detector that the box holds the label, in [0, 1].",
        "mask_score": "Confidence of the segmenter in the mask, in [0, 1].",
        "rle_counts": "The mask as COCO's uncompressed run lengths: columns first, beginning with the pixels outside.",
        "rle_size": "Height and width of the mask in pixels.",
        "iou_ceiling": "For each grid of the study, the largest IoU that any set of its cells can reach with the mask.",
        "second_opinion": "IoU, in [0, 1], of all that the image has of this label with an independent model's region "
        "of it; null where no second opinion is configured.",
    },
    "label_cells": {
        "area_px": "Pixels of the union mask.",
        "cells": "Cells that the mask touches, ascending: row-major numbers from 0.",
        "pixels": "Pixels of the mask in each of those cells.",
        "iou_ceiling": "Largest IoU, in [0, 1], that any set of the grid's cells can reach with the union mask.",
    },
    "cell_colours": {"rgb": "Mean colour of each cell: uint8 bytes, [cells, 3], cells row-major, channels R, G, B."},
    "sae_metrics": {
        "expansion": "Latents of the SAE for each channel of the block.",
        "seed": "Seed of the initialisation.",
        "kind": "trained, untrained (as initialised), frozen (only the encoder trained) or shared (of all times).",
        "explained_variance": "1 - fvu, at most 1, over the dictionary split.",
        "fvu": "Fraction of variance unexplained: squared error over squared deviation from the mean, all vectors.",
        "scaled_mse": "The same ratio taken channel by channel and averaged, over channels that vary.",
        "l0": "Mean number of latents on at a position; at most k.",
        "dead_fraction": "Share of latents that never fire in the dictionary split, in [0, 1].",
        "density_histogram": "Latents by how often they fire: below 1e-6, then in half decades up to 1.",
        "stability": "Of a further seed: mean cosine of its concept vectors to the first seed's, matched one to one; "
        "null for the others.",
        "n_vectors": "Vectors that the metrics are taken over.",
        "n_train_vectors": "Vectors that training went through, repeats included; 0 for an untrained SAE.",
        "steps": "Training steps; 0 for an untrained SAE.",
        "gamma": "Length of the site's mean vector over the RMS deviation from it, at least 0.",
    },
    "concept_matches": {
        "kind": "trained: SAEs of single times; shared: the SAE of all times, where cid_to is cid_from.",
        "t_from": "The earlier diffusion time, nearer to noise, in [0, 1].",
        "t_to": "The later diffusion time, nearer to the image, in [0, 1].",
        "cid_from": "The concept at t_from.",
        "chosen_by": "How its partner was chosen: cosine, coactivation or identity (shared).",
        "cid_to": "Its partner at t_to.",
        "cosine": "Cosine of the two concept vectors, in [-1, 1].",
        "coactivation": "Positions of the same prompts where both fire over those where either does, in [0, 1].",
        "coactivation_shuffled": "The same with t_to read from another prompt: what position alone explains.",
        "n_both": "Positions where both fire.",
        "mutual": "Whether cid_from is also the choice of cid_to.",
    },
    "shared_concepts": {
        "iou": "IoU with top_label, pooled over all images, in [0, 1]; null without a label.",
        "iou_selection": "The same over the selection half (even prompt ids), which chose the label: to rank by.",
        "iou_heldout": "The same over the held-out half (odd prompt ids), which chose nothing: to report.",
        "iou_heldout_se": "Standard error of iou_heldout, images as the sampling unit (delta method).",
    },
    "concepts": {
        "embedding": "Mean vector of the concept's labels, each as often as it was hit; null without a label. Its "
        "length depends on the embedder.",
        "context_free_score": "Variance of the map between images, with 0 the least that the same activations, image "
        "by image, could have (context-free: always at one place) and 1 what they would have at random places; null "
        "in fewer than ten images, and where it is on everywhere alike.",
        "decoder_norm": "Euclidean norm of the concept vector, in units of the residual updates.",
        "cohesion": "Mean cosine of the concept's labels to their mean, in [-1, 1]: 1 is pure; null without a label.",
        "parent": "The most specific term of the hierarchy above all labels that it meets more than chance (by q and "
        "lift, whatever their IoU), when these are several (dog, bird: animal); null otherwise.",
        "coverage": "Mean share of the grid where its code is above 0, over the images where it fires, in (0, 1].",
        "coverage_sd": "Standard deviation of that share between those images, in [0, 0.5].",
        "position_selectivity": "How far from uniform over the grid it fires, in [0, 1]: 1 - entropy / log(cells); 1 "
        "is a single cell.",
        "colour_selectivity": "Share of the variance of the cells' colours that on or off explains (eta squared), in "
        "[0, 1].",
        "colour": "Mean R, G, B (0 to 255) of the cells where the concept is on; null for one that never fires.",
    },
    "concept_labels": {
        "kind": "Which dictionary the concept is of: trained, untrained, frozen, shared, shuffled_decoder, neurons, "
        "pca or shuffled_positions.",
        "iou": "IoU of the concept's cells with the label's masks, pooled over all images, in [0, 1].",
        "iou_se": "Standard error of iou, images as the sampling unit (delta method).",
        "iou_selection": "IoU pooled over the half that assigns (even prompt ids), in [0, 1]: to choose concepts by.",
        "iou_heldout": "IoU pooled over the half that assigns nothing (odd prompt ids), in [0, 1]: to report of chosen "
        "concepts; null if empty.",
        "iou_heldout_se": "Standard error of iou_heldout, images as the sampling unit (delta method); null if empty.",
        "iou_copresent": "IoU pooled over the images where concept and label are both on, in [0, 1].",
        "precision": "Share of the concept's pixels that the label covers, in [0, 1].",
        "precision_heldout": "The same on the held-out half (odd prompt ids); null where the concept is never on.",
        "recall": "Share of the label's pixels that the concept covers, in [0, 1].",
        "lift": "Overlap over what the positions of both alone would give, at least 0; 1 is chance.",
        "lift_selection": "The same on the selection half.",
        "n_co": "Images where concept and label are both on.",
        "n_co_selection": "Those of the selection half.",
        "n_hit50": "Images where their IoU is above the paper's threshold (0.5).",
        "ceiling": "Largest pooled IoU that any choice of grid cells can reach with the label's masks, in [0, 1].",
        "p_value": "One-sided p-value, on the selection half (even prompt ids), that concept and label overlap no more "
        "than chance: the smallest, times five, of hypergeometric tails of co-presence (concept on in 1, 4, 16 and 64 "
        "cells) and of the overlap among all permutations of the label's masks between images.",
        "q_value": "Benjamini-Hochberg value of p_value over all alive concepts x labels of that SAE, in [0, 1].",
        "assigned": "Whether our rule gives the concept the label: IoU, lift and images of the selection half reach "
        "their thresholds, and q is below its own.",
        "paper_assigned": "Whether the paper's rule does: IoU > 0.5 in at least one image.",
    },
    "label_controls": {
        "kind": "Which dictionary: trained, shared, or a control (untrained, frozen, shuffled_decoder, neurons, pca, "
        "shuffled_positions).",
        "n_concepts": "Concepts of the dictionary.",
        "n_alive": "Concepts that fire at least once.",
        "n_labelled": "Concepts with an assigned label.",
        "n_labels": "Distinct labels that are assigned to some concept.",
        "n_assigned": "Assigned pairs of concept and label.",
        "n_paper_assigned": "Pairs that the paper's rule takes.",
        "n_paper_labelled": "Concepts that the paper's rule labels.",
        "n_tests": "Pairs that the false discovery rate is controlled over.",
        "label_iou": "Mean over labels of the held-out IoU of the concept that was best on the selection half, in "
        "[0, 1]; null where no label is in both halves.",
        "label_iou_ci_low": f"Lower {_CI}.",
        "label_iou_ci_high": f"Upper {_CI}.",
        "label_ceiling": "Mean over the same labels of the largest IoU that the grid allows, in [0, 1].",
        "cohesion": "Mean cohesion of the labelled concepts, in [-1, 1]: higher is purer; null without any.",
        "separability": "Mean cosine of two labelled concepts' embeddings, in [-1, 1]: lower is more distinct; null "
        "for fewer than two.",
    },
    "concept_examples": {
        "bin": "Quantile bin of the concept's images by their largest activation; 0 is the strongest.",
        "rank": "Place in the bin, from 0: the strongest image first.",
        "act_max": "Largest activation of the concept in the image, in the SAE's units.",
        "map_indices": "Cells where the concept fires in the image: row-major numbers from 0.",
        "map_values": "Its activation in each of those cells, in the SAE's units.",
        "grid": "Rows and columns of the map.",
    },
    "layout_scores": {
        "label": "The label; * is the mean over labels.",
        "method": "concepts (the paper's), evidence, posterior, position (no activation), shuffled (control), or a "
        "difference, e.g. 'concepts - position'.",
        "threshold": "Score above which a cell is predicted, fitted on the dictionary split; null for means.",
        "iou": "Mean IoU of predicted and true mask over the layout split, in [0, 1]; of a difference, in [-1, 1].",
        "iou_ci_low": f"Lower {_CI}, images resampled.",
        "iou_ci_high": f"Upper {_CI}, images resampled.",
        "n": "Images scored.",
    },
    "interventions": {
        "kind": "spatial (an object in a region) or global (a style).",
        "block": "Block that is edited.",
        "t": "Time of the SAE that serves the window, in [0, 1].",
        "cid_count": "Concepts that the edit adds; 0 where none carries the target.",
        "region": "Quadrant the object is put in, e.g. top_left; everywhere for a global edit.",
        "control": "none (concepts edit), random_direction (of the same norm) or unedited.",
        "seed": "Seed of the image's initial noise.",
        "success": "Whether the judge finds the object in the region, or the style more likely than not.",
        "effect": "Rise of the object's share in the region, or of the style's probability, in [-1, 1].",
        "outside_change": "Mean absolute change of pixels outside the region, or of all, in [0, 1].",
        "objects_kept": "Of a global edit: of the things that the caption names and the judge sees in the unedited "
        "image, the share that it still sees, in [0, 1]; null without any, and for other rows.",
        "image": "The edited image as PNG bytes; null if it is not kept.",
    },
    "calibrations": {
        "kind": "spatial (an object in a region) or global (a style).",
        "success": "Share of images where the edit succeeds, in [0, 1].",
        "random_success": "The same for random directions of that strength.",
        "effect": "Mean effect, in [-1, 1]: see interventions.",
        "outside_change": "Mean absolute change of pixels outside the region, in [0, 1].",
        "n": "Images edited.",
    },
    "intervention_effects": {
        "kind": "spatial (an object in a region) or global (a style).",
        "control": "none (concepts edit), random_direction (of the same norm) or unedited.",
        "target": "Object or style that is edited in; * is all of the kind.",
        "cases": "all, or new: those that the unedited image does not fulfil (object elsewhere, style absent).",
        "success": "Share of cases that succeed, in [0, 1].",
        "success_ci_low": f"Lower {_CI}, prompts resampled; exact (binomial) where every or no case succeeds; null "
        "where all prompts have another share in common.",
        "success_ci_high": f"Upper {_CI}, likewise.",
        "above_random": "Success less that of random directions on the same cases, in [-1, 1]; null for these.",
        "above_random_ci_low": f"Lower {_CI}, likewise: null where no case differs.",
        "above_random_ci_high": f"Upper {_CI}, likewise: null where no case differs.",
        "effect": "Mean effect, in [-1, 1]: see interventions.",
        "outside_change": "Mean absolute change of pixels outside the region, or of all, in [0, 1].",
        "objects_kept": "Mean share of the named things that are still seen, in [0, 1]; null for spatial edits.",
        "n": "Cases: pairs of prompt and region.",
        "n_prompts": "Distinct prompts among them.",
    },
    "bench": {
        "snr": "Signal-to-noise ratio of the images at this time, at least 0.",
        "method": "Dictionary or baseline: trained, shared, frozen, untrained, neurons, pca, ica, nmf, probe (the "
        "supervised ceiling) or the name of yours.",
        "scope": "image: is the label in the image; cell: does it cover half of a grid cell.",
        "kind": "Kind of the label, e.g. object, parent or colour; * is all kinds.",
        "label": "The label; * is the mean over the kind's labels.",
        "cid": "The feature that detects the label best on even images; null in mean rows.",
        "threshold": "Activation above which it detects, chosen on even images; null in mean rows.",
        "precision": "Share of detections that are right, on odd images, in [0, 1].",
        "precision_ci_low": f"Lower {_CI}, images resampled.",
        "precision_ci_high": f"Upper {_CI}, images resampled.",
        "recall": "Share of the label's occurrences that are detected, on odd images, in [0, 1].",
        "recall_ci_low": f"Lower {_CI}, images resampled.",
        "recall_ci_high": f"Upper {_CI}, images resampled.",
        "f1": "Harmonic mean of precision and recall, in [0, 1].",
        "f1_ci_low": f"Lower {_CI}, images resampled.",
        "f1_ci_high": f"Upper {_CI}, images resampled.",
        "f1_chosen": "F1 on the even images that the detector was chosen on, in [0, 1]: flattered, so choose sites and "
        "methods by it and report f1.",
        "prevalence": "Share of images or cells that have the label, in [0, 1]: the precision of guessing.",
        "n_positive": "Images or cells that have the label, on odd images.",
        "splitting": "Features that the label is split over, from 1; a mean in mean rows; null by cells.",
        "absorption": "Of a parent, how often its detector is silent where a child's fires rightly, in [0, 1]; null "
        "for other labels.",
        "absorption_base": "Right firings of children that absorption is a share of; null for other labels.",
    },
    "runs": {
        "run_id": "Id of the flow run.",
        "stage": "Stage that ran, e.g. label.",
        "started": "When it started, UTC.",
        "ended": "When it ended, UTC.",
        "config_hash": "Hash of the study's configuration.",
        "git_sha": "Commit of the code; null outside a git working tree.",
        "versions": "Versions of Python and of the packages that can change a number, as JSON.",
    },
}


def described(table: str, schema: pa.Schema, key: tuple[str, ...]) -> pa.Schema:
    """The schema with the words above in its metadata: ``description`` of the table and of each field, and ``key``.

    Raises ``KeyError`` naming the table and column that nobody described.
    """
    fields = [field.with_metadata({b"description": column_text(table, field.name).encode()}) for field in schema]
    return pa.schema(fields, {b"description": TABLES[table].encode(), b"key": ",".join(key).encode()})


def column_text(table: str, column: str) -> str:
    """What a column means, in one sentence. Raises ``KeyError`` if nobody has said so."""
    text = COLUMNS.get(table, {}).get(column, COMMON.get(column))
    if text is None:
        raise KeyError(f"storage/descriptions.py does not describe column {column!r} of table {table!r}")
    return text


def page() -> str:
    """The page docs/tables.md, in Markdown."""
    from storage.schemas import KEYS, SCHEMAS, SORTS  # schemas.py needs the words above first

    lines = [
        "# The tables",
        "",
        "Generated by `python -m storage.descriptions > docs/tables.md`. Every Parquet part carries the same words in",
        "its schema's metadata. A table is a folder `tables/<name>/` of parts, one for each unit of work; pandas,",
        "Polars, Dask and DuckDB read the folder as one table. The key is unique over all parts. Each part is sorted",
        "as said, and its row groups carry the smallest and largest value of each column, so that a filter on the",
        "first columns of the order reads little.",
        "",
        ", ".join(f"[{name}](#{name})" for name in SCHEMAS),
    ]
    for name, schema in SCHEMAS.items():
        order = "the key" if SORTS[name] == KEYS[name] else ", ".join(SORTS[name])
        lines += ["", f"## {name}", "", TABLES[name], ""]
        lines += [f"Key: {', '.join(KEYS[name])}. Sorted by {order}.", ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{field.name}` | {_type_name(field)} | {_cell(name, field)} |" for field in schema]
    return "\n".join(lines) + "\n"


def _cell(table: str, field: pa.Field) -> str:
    return column_text(table, field.name).replace("|", "\\|").replace("*", "\\*")


def _type_name(field: pa.Field) -> str:
    name = _plain(field.type)
    return f"{name}, may be null" if field.nullable else name


def _plain(kind: pa.DataType) -> str:
    if pa.types.is_fixed_size_list(kind):
        return f"{kind.list_size} of {_plain(kind.value_type)}"
    if pa.types.is_list(kind):
        return f"list of {_plain(kind.value_type)}"
    if pa.types.is_struct(kind):
        return "(" + ", ".join(f"{inner.name} {_plain(inner.type)}" for inner in kind) + ")"
    return str(kind).replace("double", "float64").replace("float", "float32").replace("float3264", "float64")


if __name__ == "__main__":
    sys.stdout.write(page())
