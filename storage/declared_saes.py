"""Tables of the trained SAEs and of how the concepts of different times belong together."""

from __future__ import annotations

import pyarrow as pa

from storage.declaring import BOOL, CONCEPT, FLOAT64, INT32, INT64, SITE, SITE_KEY, TEXT, Table, column, common

_INIT_COSINE = (
    "Mean cosine of its concept vectors to the ones they began as, in [-1, 1]: 1 is the start itself, two random "
    "directions have about 0; lower is good, near 1 they were drawn and not learned."
)
_INIT_NEAREST = (
    "Share of its latents whose own start is the nearest of all starts, in [0, 1]: 1 at the start, about 1 / latents "
    "of random directions; lower is good, but in many channels a small rest of the start is enough for 1."
)

TABLES = (
    Table(
        "sae_metrics",
        "How well each SAE reconstructs activations that it was not trained on, with its controls.",
        key=(*SITE_KEY, "expansion", "seed", "kind"),
        writers=("train", "share"),
        columns=(
            *SITE,
            column("expansion", INT32, "Latents of the SAE for each channel of the block."),
            column("seed", INT64, "Seed of the initialisation."),
            column(
                "kind",
                TEXT,
                "trained, untrained (as initialised), frozen (only the encoder trained), soft_frozen (concept vectors "
                "kept within a cosine of 0.8 of their start), frozen_encoder (only the decoder trained) or shared (of "
                "all times).",
            ),
            column("explained_variance", FLOAT64, "1 - fvu, at most 1, over the dictionary split."),
            column(
                "fvu",
                FLOAT64,
                "Fraction of variance unexplained: squared error over squared deviation from the mean, all vectors.",
            ),
            column(
                "scaled_mse",
                FLOAT64,
                "The same ratio taken channel by channel and averaged, over channels that vary.",
            ),
            column("l0", FLOAT64, "Mean number of latents on at a position; at most k."),
            column("dead_fraction", FLOAT64, "Share of latents that never fire in the dictionary split, in [0, 1]."),
            column(
                "density_histogram",
                pa.list_(INT64),
                "Latents by how often they fire: below 1e-6, then in half decades up to 1.",
            ),
            column(
                "stability",
                FLOAT64,
                "Of a further seed of trained or shared: mean cosine of its concept vectors to the first seed's, "
                "matched one to one; null for the others.",
                null=True,
            ),
            column("init_cosine", FLOAT64, _INIT_COSINE),
            column("init_nearest", FLOAT64, _INIT_NEAREST),
            column(
                "late_gain",
                FLOAT64,
                "What explained variance of the sample of sae_curves rose by from 0.8 of the steps to the end, where "
                "by default the learning rate falls: near 0 is good, but that alone gains something in a run that had "
                "converged, too; null for an untrained SAE.",
                null=True,
            ),
            column("n_vectors", INT64, "Vectors that the metrics are taken over."),
            column(
                "n_train_vectors",
                INT64,
                "Vectors that training went through, repeats included; 0 for an untrained SAE.",
            ),
            column("steps", INT64, "Training steps; 0 for an untrained SAE."),
            column("gamma", FLOAT64, "Length of the site's mean vector over the RMS deviation from it, at least 0."),
        ),
    ),
    Table(
        "sae_curves",
        "Learning curves: each SAE at ten points of its training, on a fixed sample of the dictionary split, of eight "
        "vectors for each latent of the first expansion and at most 8192.",
        key=(*SITE_KEY, "expansion", "seed", "kind", "step"),
        writers=("train", "share"),
        columns=(
            *SITE,
            column("expansion", INT32, "Latents of the SAE for each channel of the block."),
            column("seed", INT64, "Seed of the initialisation."),
            column("kind", TEXT, "As in sae_metrics, but for untrained, which has no curve."),
            column("step", INT64, "Training steps so far: 0, then 1/64 to all of them."),
            column("vectors", INT64, "Vectors that training had gone through by then, repeats included."),
            column(
                "explained_variance",
                FLOAT64,
                "1 - fvu of the sample, at most 1: higher is good, and flat at the end.",
            ),
            column(
                "dead_fraction",
                FLOAT64,
                "Share of latents that never fire in the sample, in [0, 1]: lower is good. Rare latents may miss a "
                "sample that is smaller than the dictionary split, so sae_metrics may say less.",
            ),
            column("init_cosine", FLOAT64, _INIT_COSINE),
            column("init_nearest", FLOAT64, _INIT_NEAREST),
            column(
                "stability",
                FLOAT64,
                "Of a further seed, trained or shared: mean cosine of its concept vectors to those of the first seed "
                "at the same step, matched one to one, in [-1, 1]: higher is good, random ones have about "
                "sqrt(2 ln latents / channels). Null for the others and, before the last step, beyond 2048 latents.",
                null=True,
            ),
        ),
    ),
    Table(
        "concept_matches",
        "Which concept of one time is which of the next, of the same block. SAEs of different times and one seed start "
        "from the same rows: what a partner has beyond the other seed's is what is known of concepts through time.",
        key=("block", "conditioning", "k", "kind", "t_from", "t_to", "cid_from", "chosen_by"),
        writers=("match",),
        columns=(
            common("block"),
            common("conditioning"),
            common("k"),
            column(
                "kind",
                TEXT,
                "trained: SAEs of single times; shared: the SAE of all times, where cid_to is cid_from.",
            ),
            column("t_from", FLOAT64, "The earlier diffusion time, nearer to noise, in [0, 1]."),
            column("t_to", FLOAT64, "The later diffusion time, nearer to the image, in [0, 1]."),
            column("cid_from", INT32, "The concept at t_from."),
            column("chosen_by", TEXT, "How its partner was chosen: cosine, coactivation or identity (shared)."),
            column("cid_to", INT32, "Its partner at t_to."),
            column(
                "cosine",
                FLOAT64,
                "Cosine of the two concept vectors, in [-1, 1]. SAEs of different times start from the same rows (one "
                "seed), so it includes that common start; cosine_other_seed is the control.",
            ),
            column(
                "coactivation",
                FLOAT64,
                "Positions of the same prompts where both fire over those where either does, in [0, 1].",
            ),
            column(
                "coactivation_shuffled",
                FLOAT64,
                "The same with t_to read from another prompt: what position alone explains.",
            ),
            column("n_both", INT64, "Positions where both fire."),
            column(
                "mutual",
                BOOL,
                "Whether cid_from is also the choice of cid_to: true for identity. It includes the common start as "
                "cosine does; mutual_other_seed is the control.",
            ),
            column(
                "cosine_other_seed",
                FLOAT64,
                "The control of cosine: to the partner, chosen by the same measure, in the SAE of the next seed at "
                "t_to, which started from other rows. Of a shared SAE, to the one-to-one partner in the shared SAE of "
                "the next seed (as stability pairs them). Null where sae.seeds is 1.",
                null=True,
            ),
            column(
                "coactivation_other_seed",
                FLOAT64,
                "The control of coactivation: of cid_from at t_from with that same partner at t_to; null as before.",
                null=True,
            ),
            column(
                "mutual_other_seed",
                BOOL,
                "The control of mutual: whether cid_from is also the choice of that partner (of a shared SAE: whether "
                "each is the nearest of the other); null as before.",
                null=True,
            ),
        ),
    ),
    Table(
        "shared_concepts",
        "Concepts of the SAE of all times, as they are at each time: one cid is one direction.",
        key=(*SITE_KEY, "cid"),
        writers=("label",),
        columns=(
            *SITE,
            *CONCEPT,
            column(
                "iou",
                FLOAT64,
                "IoU with top_label, pooled over all images, in [0, 1]; null without a label.",
                null=True,
            ),
            column(
                "iou_selection",
                FLOAT64,
                "The same over the selection half (even prompt ids), which chose the label: to rank by.",
                null=True,
            ),
            column(
                "iou_heldout",
                FLOAT64,
                "The same over the held-out half (odd prompt ids), which chose nothing: to report.",
                null=True,
            ),
            column(
                "iou_heldout_se",
                FLOAT64,
                "Standard error of iou_heldout, images as the sampling unit (delta method).",
                null=True,
            ),
        ),
    ),
)
