"""Prefect artifacts: a table and, where there is one to show, a picture of each stage's result.

Pictures are markdown, not image artifacts: the page of one of those writes the picture's bytes out below it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from concepts.layout_rows import ALL_LABELS
from concepts.matching import MEASURES, SERIES, beyond_other_seed
from storage.images import thumbnail
from storage.tables import count_rows, read_table
from study.reading import images_of
from study.saes import SHARED, TRAINED
from study.study import Study
from study.units import FIRST_IMAGES
from study.words import sensible
from tasks.draw_atlas import draw_atlas, trace_means
from tasks.keys import artifact_key

SITE = ("block", "t", "conditioning", "k")


def collect_artifacts(study: Study) -> None:
    """The first images, side by side."""
    images = list(images_of(study, 0, FIRST_IMAGES).values())
    if images:
        where = f"in full in the table `images`, prompts 0 to {len(images) - 1}"
        _picture(study, "collect-images", np.concatenate(images, axis=1), "The first images of the study", where)


def train_artifacts(study: Study) -> None:
    """Held-out metrics of every SAE, learning curves of those that are no control, partners through time."""
    columns = [*SITE, "kind", "seed", "explained_variance", "l0", "dead_fraction", "stability", "init_cosine"]
    columns += ["init_nearest", "late_gain", "expansion", "n_vectors"]
    _table(study, "sae-metrics", read_table(study.root, "sae_metrics", columns).to_pylist(), "Held-out SAE metrics")
    curves = read_table(study.root, "sae_curves", filters=[("kind", "in", [TRAINED, SHARED])]).to_pylist()
    what = "Learning curves on a held-out sample, of what later stages use and further seeds"
    _table(study, "learning-curves", curves, what, (*SITE, "kind", "expansion", "seed", "step"))
    columns = [*SERIES, *MEASURES, *(f"{measure}_other_seed" for measure in MEASURES)]
    beyond = beyond_other_seed(read_table(study.root, "concept_matches", columns).to_pylist())
    if beyond:
        what = "Partners at the next time beyond the other seed's, 95 % intervals"
        _table(study, "concepts-through-time", beyond, what, SERIES)


def label_artifacts(study: Study) -> dict[str, Any]:
    """How many concepts of each site carry a label, and how many of its controls' do."""
    columns = [*SITE, "kind", "label_iou", "n_labelled", "n_alive", "n_labels", "n_assigned"]
    rows = read_table(study.root, "label_controls", columns).to_pylist()
    what = f"Labels carried, of {count_rows(study.root, 'segments')} segments, beside controls"
    _table(study, "concept-labels", rows, what)
    return {}


def layout_artifacts(study: Study) -> dict[str, Any]:
    """Pooled layout IoU of every site and method, by the dictionary and by its controls."""
    rows = read_table(study.root, "layout_scores", filters=[("label", "==", ALL_LABELS)]).to_pylist()
    first = [*SITE, "method", "kind", "iou", "iou_ci_low", "iou_ci_high", "n"]
    shown = [{name: row[name] for name in first} for row in rows]
    _table(study, "layout-scores", shown, "Layout IoU, mean over labels, with 95 % intervals", by=("-iou",))
    return {}


def intervene_artifacts(study: Study) -> dict[str, Any]:
    """Success rates with intervals by kind, window and control, all targets together."""
    rows = read_table(study.root, "intervention_effects", filters=[("target", "==", "*")]).to_pylist()
    by = ("kind", "window", "control", "cases")
    _table(study, "intervention-effects", rows, "Success of edits, with 95 % intervals over prompts", by)
    return {}


def edit_artifacts(study: Study, row: dict[str, Any], images: list[np.ndarray], folder: str) -> None:
    """One edit: the image before, after and under the control, side by side, and its row."""
    what = f"Before, after and control: {row['edit']}"
    _picture(study, "edit-images", np.concatenate(images, axis=1), what, f"in full in `{folder}`")
    facts = [{"column": name, "value": str(value)} for name, value in row.items() if value is not None]
    _table(study, "edit-row", facts, f"The row of edit {row['edit']}", by=())


def _table(
    study: Study, key: str, rows: list[dict[str, Any]], description: str, by: Sequence[str] = (*SITE, "kind", "seed")
) -> None:
    """A table in the order of the columns ``by`` that it has, a leading dash for largest first; floats to four digits.

    Times run as sampling does, from the noise on; what was trained comes before its controls, missing values last.
    """
    for name in reversed(by):
        column, falling = name.removeprefix("-"), name.startswith("-") or name == "t"
        rows = sorted(rows, key=lambda row: _rank(row.get(column), falling))
    shown = [{name: sensible(value) for name, value in row.items()} for row in rows]
    create_table_artifact(shown, key=artifact_key(study.config.name, key), description=description)


def _rank(value: Any, falling: bool) -> tuple[bool, Any]:
    if value is None:
        return True, 0
    if value == TRAINED:
        return False, ""
    return False, -value if falling else value


def _picture(study: Study, key: str, image: np.ndarray, what: str, where: str) -> None:
    kind, data = thumbnail(image)
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    text = f"{what}; {where}\n\n![{what}]({uri})"
    create_markdown_artifact(text, key=artifact_key(study.config.name, key), description=what)


def trace_artifacts(study: Study) -> dict[str, Any]:
    """What of another caption blocks carry, in a table and drawn."""
    what, by = "Rise of another caption's target by the blocks that read it", ("kind", "method", "window", "-effect")
    _table(study, "causal-traces", trace_means(study), what, by)
    return _drawn(study)


def atlas_artifacts(study: Study) -> dict[str, Any]:
    """When each kind of edit stops to work, in a table and drawn."""
    onsets = read_table(study.root, "temporal_onsets").to_pylist()
    _table(study, "temporal-onsets", onsets, "Onset at which success has fallen to half of its peak", ())
    return _drawn(study)


def _drawn(study: Study) -> dict[str, Any]:
    return {"pictures": ", ".join(draw_atlas(study)) or "none"}


def bench_artifacts(study: Study) -> dict[str, Any]:
    """Each method at the site where it detects labels best on the images that choose detectors."""
    _table(study, "bench", bench_summary(study), "Dictionaries against the truth", ())
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
