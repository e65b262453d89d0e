"""Tables of edited images, of the bench, and of the runs that filled all tables."""

from __future__ import annotations

import pyarrow as pa

from storage.declaring import (
    BOOL,
    BYTES,
    CI,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    SITE,
    SITE_KEY,
    TEXT,
    Table,
    column,
    common,
)


def _with_interval(name: str, means: str) -> tuple[pa.Field, ...]:
    """A mean that may be null, and the ends of its interval."""
    return (
        column(name, FLOAT64, means, null=True),
        column(f"{name}_ci_low", FLOAT64, f"Lower {CI}, prompts resampled.", null=True),
        column(f"{name}_ci_high", FLOAT64, f"Upper {CI}, prompts resampled.", null=True),
    )


TABLES = (
    Table(
        "interventions",
        "Every edited image and its judgement, beside random directions and the unedited images.",
        key=("prompt_id", "kind", "window", "target", "region", "strength", "control", "seed"),
        writers=("intervene",),
        columns=(
            common("prompt_id"),
            column("kind", TEXT, "spatial (an object in a region) or global (a style)."),
            column("block", TEXT, "Block that is edited."),
            column("t", FLOAT64, "Time of the SAE that serves the window, in [0, 1]."),
            common("window"),
            common("target"),
            column("cid_count", INT32, "Concepts that the edit adds; 0 where none carries the target."),
            column("region", TEXT, "Quadrant the object is put in, e.g. top_left; everywhere for a global edit."),
            common("strength"),
            column("control", TEXT, "none (concepts edit), random_direction (of the same norm) or unedited."),
            column("seed", INT64, "Seed of the image's initial noise."),
            column(
                "success",
                BOOL,
                "Whether the judge finds the object in the region, or the style more likely than not.",
            ),
            column(
                "effect",
                FLOAT64,
                "Rise of the object's share in the region, or of the style's probability, in [-1, 1].",
            ),
            column(
                "outside_change",
                FLOAT64,
                "Mean absolute change of pixels outside the region, or of all, in [0, 1].",
            ),
            column(
                "objects_kept",
                FLOAT64,
                "Of a global edit: of the things that the caption names and the judge sees in the unedited image, the "
                "share that it still sees, in [0, 1]; null without any, and for other rows.",
                null=True,
            ),
            column(
                "layout_iou",
                FLOAT64,
                "Of the things that the caption names and the judge sees in the unedited image, the target of a "
                "spatial edit left out: mean IoU of its masks (probability 0.5 and above) before and after, in [0, 1]; "
                "null without any, for unedited images and without `interventions.damage`.",
                null=True,
            ),
            column(
                "fidelity",
                FLOAT64,
                "Of the study's labels that the caption names, looks apart, the share that the judge sees in the "
                "image, in [0, 1], also of unedited images; null where it names none and without "
                "`interventions.damage`.",
                null=True,
            ),
            column(
                "off_distribution",
                FLOAT64,
                "How far off their usual distribution the edit leaves the edited block's residual updates: their "
                "Mahalanobis distance in the site's mean and covariance (of the train split), mean over positions and "
                "the window's steps, as a multiple of the unedited run's own; 1 is as usual; null for unedited images "
                "and without `interventions.damage`.",
                null=True,
            ),
            column(
                "off_downstream",
                FLOAT64,
                "The same of the study's other blocks that come later in the U-Net, mean over them; null if there are "
                "none.",
                null=True,
            ),
            column(
                "features",
                pa.list_(FLOAT32),
                "The judge's features of the image, in which Frechet distances are taken; null where the judge has "
                "none and without `interventions.damage`.",
                null=True,
            ),
            column(
                "similarity_rise",
                FLOAT64,
                "Of a global edit: rise of the cosine with the mean embedding of the words in its concepts' lists, in "
                "[-2, 2]; null where it is not asked for.",
                null=True,
            ),
            column(
                "lpips",
                FLOAT64,
                "Of a global edit: LPIPS to the unedited image, at least 0; null where it is not asked for.",
                null=True,
            ),
            column("image", BYTES, "The edited image as PNG bytes; null if it is not kept.", null=True),
        ),
    ),
    Table(
        "traced_blocks",
        "What of another caption comes through each of the study's blocks, and sets of them, where the blocks of edits "
        "are left to a trace.",
        key=("kind", "blocks"),
        writers=("locate",),
        columns=(
            column("kind", TEXT, "spatial (another object is named) or global (a look is asked for)."),
            column("blocks", TEXT, "Blocks that write the residual updates of the other caption's run, joined by +."),
            column("n_blocks", INT64, "How many blocks that are."),
            column("effect", FLOAT64, "Mean rise of the target's probability over the unedited image's, in [-1, 1]."),
            column("effect_ci_low", FLOAT64, f"Lower {CI}, prompts resampled; null where none is known.", null=True),
            column("effect_ci_high", FLOAT64, f"Upper {CI}, likewise.", null=True),
            column("ceiling", FLOAT64, "The same for the other caption's own image, in [-1, 1]."),
            column("share", FLOAT64, "effect / ceiling; null where the other caption raises nothing.", null=True),
            column("chosen", BOOL, "Whether edits of the kind are made at these blocks."),
            column("n", INT64, "Images: pairs of a prompt and another caption."),
            column("n_prompts", INT64, "Distinct prompts among them."),
        ),
    ),
    Table(
        "calibrations",
        "What each strength of edit does on prompts of the dictionary split, where strengths are chosen.",
        key=("kind", "window", "target", "strength"),
        writers=("calibrate",),
        columns=(
            column("kind", TEXT, "spatial (an object in a region) or global (a style)."),
            common("window"),
            common("target"),
            common("strength"),
            column("success", FLOAT64, "Share of images where the edit succeeds, in [0, 1]."),
            column("random_success", FLOAT64, "The same for random directions of that strength."),
            column("effect", FLOAT64, "Mean effect, in [-1, 1]: see interventions."),
            column("outside_change", FLOAT64, "Mean absolute change of pixels outside the region, in [0, 1]."),
            column("n", INT64, "Images edited."),
        ),
    ),
    Table(
        "intervention_effects",
        "Success of the edits for each kind, window, control and target, over all cases and over those that the "
        "unedited image does not fulfil, with intervals.",
        key=("kind", "window", "control", "target", "cases"),
        writers=("effects",),
        columns=(
            column("kind", TEXT, "spatial (an object in a region) or global (a style)."),
            common("window"),
            column("control", TEXT, "none (concepts edit), random_direction (of the same norm) or unedited."),
            column("target", TEXT, "Object or style that is edited in; * is all of the kind."),
            column(
                "cases",
                TEXT,
                "all, or new: those that the unedited image does not fulfil (object elsewhere, style absent).",
            ),
            column(
                "strength",
                FLOAT64,
                "Norm that the edits add, as in interventions; null over targets that have different ones.",
                null=True,
            ),
            column("success", FLOAT64, "Share of cases that succeed, in [0, 1]."),
            column(
                "success_ci_low",
                FLOAT64,
                "Lower end of its 95 % interval, prompts resampled; exact (binomial) where every or no case succeeds; "
                "null where all prompts have another share in common.",
                null=True,
            ),
            column("success_ci_high", FLOAT64, "Upper end of its 95 % interval, likewise.", null=True),
            column(
                "above_random",
                FLOAT64,
                "Success less that of random directions on the same cases, in [-1, 1]; null for these.",
                null=True,
            ),
            column(
                "above_random_ci_low",
                FLOAT64,
                "Lower end of its 95 % interval, likewise: null where no case differs.",
                null=True,
            ),
            column(
                "above_random_ci_high",
                FLOAT64,
                "Upper end of its 95 % interval, likewise: null where no case differs.",
                null=True,
            ),
            column("effect", FLOAT64, "Mean effect, in [-1, 1]: see interventions."),
            column(
                "outside_change",
                FLOAT64,
                "Mean absolute change of pixels outside the region, or of all, in [0, 1].",
            ),
            column(
                "objects_kept",
                FLOAT64,
                "Mean share of the named things that are still seen, in [0, 1]; null for spatial edits.",
                null=True,
            ),
            *_with_interval("layout_iou", "Mean layout_iou, in [0, 1]: see interventions."),
            *_with_interval("fidelity", "Mean share of the caption's things that the judge sees, in [0, 1]."),
            *_with_interval(
                "fidelity_lost",
                "Mean of what each case's fidelity is below the unedited image's, in [-1, 1]; null for these.",
            ),
            *_with_interval("off_distribution", "Mean off_distribution, at least 0, 1 as usual: see interventions."),
            *_with_interval("off_downstream", "Mean off_downstream, at least 0, 1 as usual: see interventions."),
            column(
                "frechet",
                FLOAT64,
                "Frechet distance (squared, as FID is) of the images to the unedited images of the same cases, in the "
                "judge's features, at least 0. Not corrected for how few images there are: compare it with "
                "frechet_chance and with that of random_direction. Null for unedited images, for one image and where "
                "the judge has no features.",
                null=True,
            ),
            column(
                "frechet_chance",
                FLOAT64,
                "Its chance level: mean Frechet distance between random halves of the unedited images of the same "
                "prompts, each image once; null for fewer than four. Halves are half as many, so it is the larger for "
                "that.",
                null=True,
            ),
            column(
                "rose",
                FLOAT64,
                "Of global edits: share of images whose similarity to the look rose at all, the paper's success, in "
                "[0, 1]; of the look's probability where no similarity was asked for; null for others.",
                null=True,
            ),
            column("rose_ci_low", FLOAT64, "Lower end of its 95 % interval, as that of success.", null=True),
            column("rose_ci_high", FLOAT64, "Upper end of its 95 % interval, as that of success.", null=True),
            column("similarity_rise", FLOAT64, "Mean similarity_rise: see interventions; null likewise.", null=True),
            column("lpips", FLOAT64, "Mean LPIPS: see interventions; null likewise.", null=True),
            column("n", INT64, "Cases: pairs of prompt and region."),
            column("n_prompts", INT64, "Distinct prompts among them."),
        ),
    ),
    Table(
        "bench",
        "How well single features detect labels in images of known truth, for every dictionary and baseline.",
        key=(*SITE_KEY, "method", "scope", "kind", "label"),
        writers=("bench",),
        columns=(
            *SITE,
            column("snr", FLOAT64, "Signal-to-noise ratio of the images at this time, at least 0."),
            column(
                "method",
                TEXT,
                "Dictionary or baseline: trained, shared, frozen, soft_frozen, frozen_encoder, untrained, "
                "shuffled_decoder, neurons, pca, ica, nmf, probe (the supervised ceiling) or the name of yours.",
            ),
            column("scope", TEXT, "image: is the label in the image; cell: does it cover half of a grid cell."),
            column("kind", TEXT, "Kind of the label, e.g. object, parent or colour; * is all kinds."),
            column("label", TEXT, "The label; * is the mean over the kind's labels."),
            column(
                "cid",
                INT32,
                "The feature that detects the label best on even images; null in mean rows.",
                null=True,
            ),
            column(
                "threshold",
                FLOAT64,
                "Activation above which it detects, chosen on even images; null in mean rows.",
                null=True,
            ),
            column("precision", FLOAT64, "Share of detections that are right, on odd images, in [0, 1]."),
            column("precision_ci_low", FLOAT64, "Lower end of its 95 % interval, images resampled."),
            column("precision_ci_high", FLOAT64, "Upper end of its 95 % interval, images resampled."),
            column("recall", FLOAT64, "Share of the label's occurrences that are detected, on odd images, in [0, 1]."),
            column("recall_ci_low", FLOAT64, "Lower end of its 95 % interval, images resampled."),
            column("recall_ci_high", FLOAT64, "Upper end of its 95 % interval, images resampled."),
            column("f1", FLOAT64, "Harmonic mean of precision and recall, in [0, 1]."),
            column("f1_ci_low", FLOAT64, "Lower end of its 95 % interval, images resampled."),
            column("f1_ci_high", FLOAT64, "Upper end of its 95 % interval, images resampled."),
            column(
                "f1_chosen",
                FLOAT64,
                "F1 on the even images that the detector was chosen on, in [0, 1]: flattered, so choose sites and "
                "methods by it and report f1.",
            ),
            column(
                "prevalence",
                FLOAT64,
                "Share of images or cells that have the label, in [0, 1]: the precision of guessing.",
            ),
            column("n_positive", INT64, "Images or cells that have the label, on odd images."),
            column(
                "splitting",
                FLOAT64,
                "Features that the label is split over, from 1; a mean in mean rows; null by cells.",
                null=True,
            ),
            column(
                "absorption",
                FLOAT64,
                "Of a parent, how often its detector is silent where a child's fires rightly, in [0, 1]; null for "
                "other labels.",
                null=True,
            ),
            column(
                "absorption_base",
                INT64,
                "Right firings of children that absorption is a share of; null for other labels.",
                null=True,
            ),
        ),
    ),
    Table(
        "runs",
        "One row for each stage that ended well: when, under which configuration and versions.",
        key=("run_id", "stage"),
        writers=("runs",),
        columns=(
            column("run_id", TEXT, "Id of the flow run."),
            column("stage", TEXT, "Stage that ran, e.g. label."),
            column("started", pa.timestamp("us", "UTC"), "When it started, UTC."),
            column("ended", pa.timestamp("us", "UTC"), "When it ended, UTC."),
            column("config_hash", TEXT, "Hash of the study's configuration."),
            column("git_sha", TEXT, "Commit of the code; null outside a git working tree.", null=True),
            column("versions", TEXT, "Versions of Python and of the packages that can change a number, as JSON."),
        ),
    ),
)
