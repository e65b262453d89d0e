"""Tables of the labelled concepts, of their controls, and of the layouts that they predict."""

from __future__ import annotations

import pyarrow as pa

from storage.declaring import BOOL, CONCEPT, FLOAT32, FLOAT64, INT32, INT64, SITE, SITE_KEY, TEXT, Table, column, common

TABLES = (
    Table(
        "concepts",
        "Concepts of each trained SAE: how often and where they fire, and what they are like.",
        key=(*SITE_KEY, "cid"),
        writers=("label",),
        columns=(
            *SITE,
            *CONCEPT,
            column(
                "embedding",
                pa.list_(FLOAT32),
                "Mean vector of the concept's labels, each as often as it was hit; null without a label. Its length "
                "depends on the embedder.",
                null=True,
            ),
            column(
                "context_free_score",
                FLOAT64,
                "Variance of the map between images, with 0 the least that the same activations, image by image, "
                "could have (context-free: always at one place) and 1 what they would have at random places; null in "
                "fewer than ten images, and where it is on everywhere alike.",
                null=True,
            ),
            column("decoder_norm", FLOAT64, "Euclidean norm of the concept vector, in units of the residual updates."),
            column(
                "init_cosine",
                FLOAT64,
                "Cosine of the concept vector to the one it began as (beside it, in `untrained`), in [-1, 1]: 1 is the "
                "start itself, two random directions have about 0; lower is good, near 1 it was drawn and not learned.",
            ),
            column(
                "stability",
                FLOAT64,
                "Cosine of the concept vector to its partner in the SAE of the other seed, matched one to one, in "
                "[-1, 1]: 1 recurs exactly; the mean over the other seeds, if several; null with one seed.",
                null=True,
            ),
            column(
                "cohesion",
                FLOAT64,
                "Mean cosine of the concept's labels to their mean, in [-1, 1]: 1 is pure; null without a label.",
                null=True,
            ),
            column(
                "parent",
                TEXT,
                "The most specific term of the hierarchy above all labels that it meets more than chance (by q and "
                "lift, whatever their IoU), when these are several (dog, bird: animal); null otherwise.",
                null=True,
            ),
            column(
                "coverage",
                FLOAT64,
                "Mean share of the grid where its code is above 0, over the images where it fires, in (0, 1].",
                null=True,
            ),
            column(
                "coverage_sd",
                FLOAT64,
                "Standard deviation of that share between those images, in [0, 0.5].",
                null=True,
            ),
            column(
                "position_selectivity",
                FLOAT64,
                "How far from uniform over the grid it fires, in [0, 1]: 1 - entropy / log(cells); 1 is a single cell.",
                null=True,
            ),
            column(
                "colour_selectivity",
                FLOAT64,
                "Share of the variance of the cells' colours that on or off explains (eta squared), in [0, 1].",
                null=True,
            ),
            column(
                "colour",
                pa.list_(FLOAT32, 3),
                "Mean R, G, B (0 to 255) of the cells where the concept is on; null for one that never fires.",
                null=True,
            ),
        ),
    ),
    Table(
        "concept_activity",
        "How strongly each concept of a trained SAE fires, and which others of that SAE fire at the same positions.",
        key=(*SITE_KEY, "cid"),
        writers=("label",),
        columns=(
            *SITE,
            common("cid"),
            column(
                "histogram",
                pa.list_(INT64),
                "Positions of the dictionary split where it fires, by activation: their number in each of 20 equal "
                "parts of (0, act_max], the weakest first; zeros for a concept that never fires.",
            ),
            column(
                "coactive",
                pa.list_(INT32),
                "Other concepts that fire at the same positions: at most eight, by coactivation, highest first, equal "
                "ones by cid.",
            ),
            column(
                "coactivation",
                pa.list_(FLOAT64),
                "Of each of these: positions where both fire over those where either does, in (0, 1].",
            ),
            column(
                "coactivation_shuffled",
                pa.list_(FLOAT64),
                "The same if images were paired at random, its mean over all pairings: what position alone explains.",
            ),
            column("n_both", pa.list_(INT64), "Of each of these: positions where both fire."),
        ),
    ),
    Table(
        "concept_labels",
        "Evidence that a concept means a label: pairs of some overlap, and all that either rule takes; of "
        "shuffled_decoder, neurons, pca and shuffled_positions the latter only.",
        key=(*SITE_KEY, "kind", "cid", "label"),
        # People ask for a label, and a part holds some hundred thousand rows: sorted so, a row group answers.
        sort=("label", "kind", "cid", *SITE_KEY),
        writers=("label",),
        columns=(
            *SITE,
            column(
                "kind",
                TEXT,
                "Which dictionary the concept is of: trained, untrained, frozen, soft_frozen, frozen_encoder, shared, "
                "shuffled_decoder, neurons, pca or shuffled_positions.",
            ),
            common("cid"),
            common("label"),
            column(
                "iou",
                FLOAT64,
                "IoU of the concept's cells with the label's masks, pooled over all images, in [0, 1].",
            ),
            column("iou_se", FLOAT64, "Standard error of iou, images as the sampling unit (delta method)."),
            column(
                "iou_selection",
                FLOAT64,
                "IoU pooled over the half that assigns (even prompt ids), in [0, 1]: to choose concepts by.",
            ),
            column(
                "iou_heldout",
                FLOAT64,
                "IoU pooled over the half that assigns nothing (odd prompt ids), in [0, 1]: to report of chosen "
                "concepts; null if empty.",
                null=True,
            ),
            column(
                "iou_heldout_se",
                FLOAT64,
                "Standard error of iou_heldout, images as the sampling unit (delta method); null if empty.",
                null=True,
            ),
            column(
                "iou_copresent",
                FLOAT64,
                "IoU pooled over the images where concept and label are both on, in [0, 1].",
            ),
            column("precision", FLOAT64, "Share of the concept's pixels that the label covers, in [0, 1]."),
            column(
                "precision_heldout",
                FLOAT64,
                "The same on the held-out half (odd prompt ids); null where the concept is never on.",
                null=True,
            ),
            column("recall", FLOAT64, "Share of the label's pixels that the concept covers, in [0, 1]."),
            column(
                "lift",
                FLOAT64,
                "Overlap over what the positions of both alone would give, at least 0; 1 is chance.",
                null=True,
            ),
            column("lift_selection", FLOAT64, "The same on the selection half.", null=True),
            column("n_co", INT64, "Images where concept and label are both on."),
            column("n_co_selection", INT64, "Those of the selection half."),
            column("n_hit50", INT64, "Images where their IoU is above the paper's threshold (0.5)."),
            column(
                "ceiling",
                FLOAT64,
                "Largest pooled IoU that any choice of grid cells can reach with the label's masks, in [0, 1].",
            ),
            column(
                "p_value",
                FLOAT64,
                "One-sided p-value, on the selection half (even prompt ids), that concept and label overlap no more "
                "than chance: the smallest, times five, of hypergeometric tails of co-presence (concept on in 1, 4, "
                "16 and 64 cells) and of the overlap among all permutations of the label's masks between images.",
            ),
            column(
                "q_value",
                FLOAT64,
                "Benjamini-Hochberg value of p_value over all alive concepts x labels of that SAE, in [0, 1].",
            ),
            column(
                "assigned",
                BOOL,
                "Whether our rule gives the concept the label: IoU, lift and images of the selection half reach their "
                "thresholds, and q is below its own.",
            ),
            column("paper_assigned", BOOL, "Whether the paper's rule does: IoU > 0.5 in at least one image."),
        ),
    ),
    Table(
        "label_controls",
        "What labelling finds with each dictionary, in a few numbers: the trained one and its controls.",
        key=(*SITE_KEY, "kind"),
        writers=("label",),
        columns=(
            *SITE,
            column(
                "kind",
                TEXT,
                "Which dictionary: trained, shared, or a control (untrained, frozen, soft_frozen, frozen_encoder, "
                "shuffled_decoder, neurons, pca, shuffled_positions).",
            ),
            column("n_concepts", INT64, "Concepts of the dictionary."),
            column("n_alive", INT64, "Concepts that fire at least once."),
            column("n_labelled", INT64, "Concepts with an assigned label."),
            column("n_labels", INT64, "Distinct labels that are assigned to some concept."),
            column("n_assigned", INT64, "Assigned pairs of concept and label."),
            column("n_paper_assigned", INT64, "Pairs that the paper's rule takes."),
            column("n_paper_labelled", INT64, "Concepts that the paper's rule labels."),
            column("n_tests", INT64, "Pairs that the false discovery rate is controlled over."),
            column(
                "label_iou",
                FLOAT64,
                "Mean over labels of the held-out IoU of the concept that was best on the selection half, in [0, 1]; "
                "null where no label is in both halves.",
                null=True,
            ),
            column("label_iou_ci_low", FLOAT64, "Lower end of its 95 % interval.", null=True),
            column("label_iou_ci_high", FLOAT64, "Upper end of its 95 % interval.", null=True),
            column(
                "label_ceiling",
                FLOAT64,
                "Mean over the same labels of the largest IoU that the grid allows, in [0, 1].",
                null=True,
            ),
            column(
                "cohesion",
                FLOAT64,
                "Mean cohesion of the labelled concepts, in [-1, 1]: higher is purer; null without any.",
                null=True,
            ),
            column(
                "separability",
                FLOAT64,
                "Mean cosine of two labelled concepts' embeddings, in [-1, 1]: lower is more distinct; null for fewer "
                "than two.",
                null=True,
            ),
        ),
    ),
    Table(
        "concept_examples",
        "Images that excite each concept, from the strongest tenth of its images to the weakest.",
        key=(*SITE_KEY, "cid", "bin", "rank"),
        writers=("label",),
        columns=(
            *SITE,
            common("cid"),
            column(
                "bin",
                INT32,
                "Quantile bin of the concept's images by their largest activation; 0 is the strongest.",
            ),
            column("rank", INT32, "Place in the bin, from 0: the strongest image first."),
            common("prompt_id"),
            column("act_max", FLOAT32, "Largest activation of the concept in the image, in the SAE's units."),
            column(
                "map_indices",
                pa.list_(INT32),
                "Cells where the concept fires in the image: row-major numbers from 0.",
            ),
            column("map_values", pa.list_(FLOAT32), "Its activation in each of those cells, in the SAE's units."),
            column("grid", pa.list_(INT32, 2), "Rows and columns of the map."),
        ),
    ),
    Table(
        "attention_maps",
        "Where each block attends to the words of a caption, if `layout.attention` asks for it.",
        key=("block", "t", "prompt_id", "label"),
        writers=("attend",),
        columns=(
            column("block", TEXT, "Short name of the block whose cross-attention is summed, e.g. down, mid or up."),
            column("t", FLOAT64, "Diffusion time in [0, 1]: attention is summed from the first step, t = 1, to this."),
            common("prompt_id"),
            column("label", TEXT, "A label that the caption names and a segment shows."),
            column(
                "map",
                pa.list_(FLOAT32),
                "Of each cell of the block's grid, row by row: probability of the label's tokens (their mean), summed "
                "over heads, layers of the block and steps.",
            ),
        ),
    ),
    Table(
        "layout_scores",
        "How well each label's mask is predicted from one site's codes, beside baselines and controls.",
        key=(*SITE_KEY, "kind", "label", "method"),
        writers=("layout",),
        columns=(
            *SITE,
            column(
                "kind",
                TEXT,
                "Whose codes and labels: trained, or those of a control (untrained, frozen, soft_frozen, "
                "frozen_encoder). What reads neither, such as position and raw, stands under trained alone.",
            ),
            column(
                "label",
                TEXT,
                "The label, or a mean: * over images (each by the mean over its labels), '* by label' over labels (by "
                "the mean over the images of each), '* small' and '* large' as * of labels that cover on average less "
                "than `layout.large_share` of an image, or as much, '* ground' of the labels whose next broader term "
                "in the hierarchy is ground, and so on.",
            ),
            column(
                "method",
                TEXT,
                "By codes: concepts (the paper's), evidence, posterior, shuffled (control). Without: position, "
                "position_given (the caption's other nouns), noise and noise_neighbours (the initial noise), raw (the "
                "activations), attention (heat maps of the label's words, if asked for). Or a difference, e.g. "
                "'concepts - position' or 'posterior - noise'.",
            ),
            column(
                "threshold",
                FLOAT64,
                "Score above which a cell is predicted, fitted on the dictionary split; null for means.",
                null=True,
            ),
            column(
                "iou",
                FLOAT64,
                "Mean IoU of predicted and true mask over the layout split, in [0, 1]; of a difference, in [-1, 1]. "
                "Nouns that no segment shows are left out, as in the paper.",
            ),
            column("iou_ci_low", FLOAT64, "Lower end of its 95 % interval, images resampled."),
            column("iou_ci_high", FLOAT64, "Upper end of its 95 % interval, images resampled."),
            column("n", INT64, "Images scored."),
            column(
                "iou_all",
                FLOAT64,
                "The same where a noun that the caption names and no segment shows counts as IoU 0; of a difference, "
                "as one of 0.",
            ),
            column("iou_all_ci_low", FLOAT64, "Lower end of its 95 % interval, images resampled."),
            column("iou_all_ci_high", FLOAT64, "Upper end of its 95 % interval, images resampled."),
            column("n_undetected", INT64, "Nouns of captions, each in each image, that no segment shows."),
        ),
    ),
)
