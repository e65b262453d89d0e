"""Tables of the temporal atlas: which blocks and times carry an edit, and when it stops to work."""

from __future__ import annotations

from storage.declaring import BOOL, CI, FLOAT64, INT64, SITE, SITE_KEY, TEXT, Table, column, common

_KIND = column("kind", TEXT, "spatial (an object in a region) or global (a style).")
_OUTCOME = (
    column("success", BOOL, "As in interventions."),
    column("effect", FLOAT64, "As in interventions, in [-1, 1]."),
    column("outside_change", FLOAT64, "Mean absolute change of pixels outside the region, or of all, in [0, 1]."),
    column(
        "objects_kept",
        FLOAT64,
        "Of the things that the caption names and the judge sees in the unedited image, the share that it still sees, "
        "in [0, 1]; null without any.",
        null=True,
    ),
)

TABLES = (
    Table(
        "causal_traces",
        "Images sampled with another caption read by some blocks in a window, or with their updates patched in from "
        "that caption's run: what of it each block carries.",
        key=("method", "kind", "target", "blocks", "window", "prompt_id"),
        writers=("trace",),
        columns=(
            column("method", TEXT, "switch (the caption that some blocks read) or patch (their residual updates)."),
            column("kind", TEXT, "global: a look is asked for; spatial: the named object is another one."),
            column("target", TEXT, "The look, or the object that the caption names instead."),
            column("blocks", TEXT, "Module paths of the attention blocks, joined by +; * is all of them."),
            column("n_blocks", INT64, "How many blocks that are."),
            column("window", TEXT, "all (every step), or a window of the configuration."),
            common("prompt_id"),
            column("success", BOOL, "Whether the judge sees the target: probability 0.5 or more, somewhere or of all."),
            column("effect", FLOAT64, "Rise of the target's probability over the unedited image's, in [-1, 1]."),
            column("ceiling", FLOAT64, "The same for the other caption's own image: what all of it would do."),
            column("change", FLOAT64, "Mean absolute change of pixels, in [0, 1]."),
        ),
    ),
    Table(
        "temporal_atlas",
        "Edits of equal length from every onset, both kinds on the same prompts and seeds, beside controls.",
        key=("kind", "target", "length", "onset", "control", "prompt_id"),
        writers=("onsets",),
        columns=(
            _KIND,
            column("target", TEXT, "Object or style that is edited in."),
            column("blocks", TEXT, "Blocks that are edited, joined by +."),
            column("length", FLOAT64, "Diffusion time that the edit lasts where it does not end with the image."),
            column("onset", FLOAT64, "Time of the first edited step, in [0, 1]: 1 is pure noise."),
            column("ends", FLOAT64, "Time that the edit has ended at, in [0, 1]."),
            column("control", TEXT, "none (concepts edit), unedited, or a control: see docs/temporal.md."),
            common("prompt_id"),
            column("region", TEXT, "Quadrant that the object is put in, beside the one where it lies; or everywhere."),
            column("seed", INT64, "Seed of the image's initial noise."),
            common("strength"),
            *_OUTCOME,
        ),
    ),
    Table(
        "concept_causes",
        "Whether a labelled concept, added by itself, brings about its label: its effect beside random directions'.",
        key=(*SITE_KEY, "kind", "window", "cid"),
        writers=("causes",),
        columns=(
            *SITE,
            column("kind", TEXT, "spatial (objects and grounds are looked for) or global (looks)."),
            common("window"),
            common("cid"),
            column("label", TEXT, "The concept's assigned label of highest IoU on the selection half."),
            column("effect", FLOAT64, "Mean rise of the label's probability over prompts, in [-1, 1]."),
            column("random_effect", FLOAT64, "The same of random directions of the same norm."),
            column("above_random", FLOAT64, "Mean difference of the two on the same prompts, in [-2, 2]."),
            column("above_random_ci_low", FLOAT64, f"Lower {CI}, by the paired t-test over prompts."),
            column("above_random_ci_high", FLOAT64, f"Upper {CI}, likewise."),
            column("p", FLOAT64, "Two-sided p of the difference, by the paired t-test; 1 where no prompt differs."),
            column("q", FLOAT64, "The same, corrected for all concepts of the site (Benjamini-Hochberg)."),
            column("n_prompts", INT64, "Prompts behind it."),
        ),
    ),
    Table(
        "temporal_onsets",
        "Onset at which an edit's success has fallen to half of its peak (tau50), and differences of the kinds.",
        key=("length", "kind", "control", "target"),
        writers=("tau50",),
        columns=(
            column("length", FLOAT64, "Diffusion time that the edits last, as in temporal_atlas."),
            column("kind", TEXT, "spatial, global, or spatial-global: the difference of the two on the same prompts."),
            column("control", TEXT, "none (concepts edit) or switched_prompt."),
            column("target", TEXT, "Object or style; * is all of the kind."),
            column("tau50", FLOAT64, "The onset, in [0, 1], or the difference; null without success.", null=True),
            column("tau50_ci_low", FLOAT64, f"Lower {CI}, prompts resampled (in pairs).", null=True),
            column("tau50_ci_high", FLOAT64, f"Upper {CI}, likewise.", null=True),
            column(
                "never",
                FLOAT64,
                "Share of resamples that do not halve before the last onset, in [0, 1]; null of a difference.",
                null=True,
            ),
            column("p", FLOAT64, "Two-sided p of a difference, by resampling; null of a kind.", null=True),
            column("q", FLOAT64, "The same, corrected for all differences (Benjamini-Hochberg).", null=True),
            column("peak", FLOAT64, "Largest success of the fitted curve, in [0, 1]; null of a difference.", null=True),
            column("n_prompts", INT64, "Prompts behind it."),
        ),
    ),
)
