"""Prefect artifacts: a table and, where there is one to show, a picture of each stage's result."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from prefect.artifacts import create_image_artifact, create_table_artifact

from concepts.layout_rows import ALL_LABELS
from concepts.matching import MEASURES, SERIES, beyond_other_seed
from storage.images import encode_png
from storage.tables import count_rows, read_table
from study.reading import images_of
from study.saes import SHARED, TRAINED
from study.study import Study
from study.units import FIRST_IMAGES
from tasks.draw_atlas import draw_atlas, trace_means

MAX_IMAGE_BYTES = 500_000  # the UI loads artifacts whole


def collect_artifacts(study: Study) -> None:
    """The first images, side by side."""
    images = list(images_of(study, 0, FIRST_IMAGES).values())
    if images:
        _image("collect-images", np.concatenate(images, axis=1), "The first images of the study")


def train_artifacts(study: Study) -> None:
    """Held-out metrics of every SAE, learning curves of those that are no control, partners through time."""
    columns = ["block", "t", "conditioning", "k", "expansion", "seed", "kind"]
    columns += ["explained_variance", "l0", "dead_fraction", "init_cosine", "init_nearest", "late_gain"]
    rows = read_table(study.root, "sae_metrics", [*columns, "stability", "n_vectors"]).to_pylist()
    _table("sae-metrics", rows, "Held-out SAE metrics")
    curves = read_table(study.root, "sae_curves", filters=[("kind", "in", [TRAINED, SHARED])]).to_pylist()
    _table(
        "learning-curves", curves, "Learning curves on a held-out sample, of what later stages use and further seeds"
    )
    columns = [*SERIES, *MEASURES, *(f"{measure}_other_seed" for measure in MEASURES)]
    beyond = beyond_other_seed(read_table(study.root, "concept_matches", columns).to_pylist())
    if beyond:
        _table("concepts-through-time", beyond, "Partners at the next time beyond the other seed's, 95 % intervals")


def label_artifacts(study: Study) -> dict[str, Any]:
    """How many concepts of each site carry a label, and how many of its controls' do."""
    columns = ["block", "t", "conditioning", "k", "kind", "n_alive", "n_labelled", "n_labels", "n_assigned"]
    rows = read_table(study.root, "label_controls", [*columns, "label_iou"]).to_pylist()
    _table("concept-labels", rows, f"Labels carried, of {count_rows(study.root, 'segments')} segments, beside controls")
    return {}


def layout_artifacts(study: Study) -> dict[str, Any]:
    """Pooled layout IoU of every site and method, by the dictionary and by its controls."""
    rows = read_table(study.root, "layout_scores", filters=[("label", "==", ALL_LABELS)]).to_pylist()
    _table("layout-scores", rows, "Layout IoU, mean over labels, with 95 % intervals")
    return {}


def intervene_artifacts(study: Study) -> dict[str, Any]:
    """Success rates with intervals by kind, window and control, all targets together."""
    rows = read_table(study.root, "intervention_effects", filters=[("target", "==", "*")]).to_pylist()
    _table("intervention-effects", rows, "Success of edits, with 95 % intervals over prompts")
    return {}


def edit_artifacts(row: dict[str, Any], images: list[np.ndarray]) -> None:
    """One edit: the image before, after and under the control, side by side, and its row."""
    _image("edit-images", np.concatenate(images, axis=1), f"Before, after and control: {row['edit']}")
    facts = [{"column": name, "value": str(value)} for name, value in row.items() if value is not None]
    _table("edit-row", facts, f"The row of edit {row['edit']}")


def _table(key: str, rows: list[dict[str, Any]], description: str) -> None:
    shown = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    create_table_artifact(shown, key=key, description=description)


def _image(key: str, image: np.ndarray, description: str) -> None:
    data = encode_png(image)
    if len(data) <= MAX_IMAGE_BYTES:
        uri = "data:image/png;base64," + base64.b64encode(data).decode()
        create_image_artifact(uri, key=key, description=description)


def trace_artifacts(study: Study) -> dict[str, Any]:
    """What of another caption blocks carry, in a table and drawn."""
    _table("causal-traces", trace_means(study), "Rise of another caption's target by the blocks that read it")
    return _drawn(study)


def atlas_artifacts(study: Study) -> dict[str, Any]:
    """When each kind of edit stops to work, in a table and drawn."""
    onsets = read_table(study.root, "temporal_onsets").to_pylist()
    _table("temporal-onsets", onsets, "Onset at which success has fallen to half of its peak")
    return _drawn(study)


def _drawn(study: Study) -> dict[str, Any]:
    return {"pictures": ", ".join(draw_atlas(study)) or "none"}


def bench_artifacts(study: Study) -> dict[str, Any]:
    """Each method at the site where it detects labels best on the images that choose detectors."""
    _table("bench", bench_summary(study), "Dictionaries against the truth")
    return {}


def bench_summary(study: Study) -> list[dict[str, Any]]:
    """One row a method: the site of its largest mean F1 over all labels, by images, best method first.

    Sites are compared on the images that detectors are chosen on, as the best of many is flattered where it is found.
    """
    names = ["method", "block", "t", "k", "f1_chosen", "precision", "precision_ci_low", "precision_ci_high", "recall"]
    names += ["recall_ci_low", "recall_ci_high", "f1", "f1_ci_low", "f1_ci_high", "splitting", "absorption"]
    filters = [("scope", "==", "image"), ("kind", "==", "*"), ("label", "==", "*")]
    best: dict[str, dict[str, Any]] = {}
    for row in read_table(study.root, "bench", names, filters).to_pylist():
        if row["method"] not in best or row["f1_chosen"] > best[row["method"]]["f1_chosen"]:
            best[row["method"]] = row
    return sorted(best.values(), key=lambda row: (-row["f1"], row["method"]))
