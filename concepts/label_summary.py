"""One dictionary's labels in a few numbers, alike for a trained SAE and for its controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.evidence import iou_of
from concepts.intervals import delta_interval
from concepts.label_table import LabelTable
from concepts.overlap import HELDOUT, SELECTION, OverlapStats


def summarise(stats: OverlapStats, table: LabelTable) -> dict[str, Any]:
    """The counts and the mean IoU of a row of ``label_controls``; ``table`` must hold every pair.

    ``label_iou`` is the mean over labels of the held-out IoU of the concept that was best on the selection half. Its
    95 % interval is the delta method's with images as the sampling unit, the labels' errors taken as independent.
    None where no label occurs in both halves.
    """
    columns = table.columns
    assigned, paper = columns["assigned"], columns["paper_assigned"]
    row: dict[str, Any] = {
        "n_concepts": stats.n,
        "n_alive": int((stats.on_images[:, 0].sum(0) > 0).sum()),
        "n_labelled": len(set(columns["cid"][assigned].tolist())),
        "n_labels": len(set(columns["label"][assigned].tolist())),
        "n_assigned": int(assigned.sum()),
        "n_paper_assigned": int(paper.sum()),
        "n_paper_labelled": len(set(columns["cid"][paper].tolist())),
        "n_tests": table.n_tests,
    }
    return row | _label_iou(stats)


def _label_iou(stats: OverlapStats) -> dict[str, float | None]:
    labels = [label for label in sorted(stats.labels) if stats.labels[label].images.min() > 0]
    if not labels:
        return dict.fromkeys(("label_iou", "label_iou_ci_low", "label_iou_ci_high", "label_ceiling"))
    values, errors = [], []
    for label in labels:
        best = int(iou_of(stats, label, (SELECTION,)).value.argmax())
        heldout = iou_of(stats, label, (HELDOUT,))
        values.append(heldout.value[best])
        errors.append(heldout.error[best])
    mean, error = float(np.mean(values)), float(np.sqrt(np.square(errors).sum()) / len(labels))
    low, high = delta_interval(mean, error)
    return {
        "label_iou": mean,
        "label_iou_ci_low": low,
        "label_iou_ci_high": high,
        "label_ceiling": float(np.mean([stats.ceiling(label) for label in labels])),
    }
