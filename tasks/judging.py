"""Judging edited images: what the vision backend's judge says of each, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.effects import change_outside, region_mask, share_in_region, success_in_region
from tasks.edits import Case, looks_of
from tasks.label import study_labels
from tasks.plans import Unit
from tasks.study import Study, backend_of
from vision.words import mentions

SEEN = 0.5  # probability of a label at some pixel, from which an image counts as showing it


def score(
    study: Study, unit: Unit, cases: list[Case], images: list[np.ndarray], before: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success, effect and outside_change of each edited image, by the vision backend's judge."""
    judge = backend_of(study).judge
    scores = _spatial_scores if unit.kind == "spatial" else _global_scores
    return scores(judge, unit.target, cases, images, before)


def objects_kept(
    study: Study, cases: list[Case], images: list[np.ndarray], before: list[np.ndarray]
) -> list[float | None]:
    """Of what each caption names and the judge sees in the unedited image, the share it still sees; None for nothing.

    A look is not among it: it is what a global edit is to change.
    """
    judge, looks = backend_of(study).judge, looks_of(study)
    seen, kept = np.zeros((2, len(cases)), int)
    for label in study_labels(study):
        named = [i for i, case in enumerate(cases) if label not in looks and mentions(case.caption, label)]
        if named:
            was, is_still = (
                (judge.object_map([of[i] for i in named], label) >= SEEN).any((1, 2)) for of in (before, images)
            )
            seen[named] += was
            kept[named] += was & is_still
    return [float(k / s) if s else None for k, s in zip(kept, seen, strict=True)]


def _spatial_scores(
    judge: Any, target: str, cases: list[Case], images: list[np.ndarray], originals: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success: the object's centre of mass is in the region. effect: rise of its share of mass there."""
    after, before = judge.object_map(images, target), judge.object_map(originals, target)
    outcomes = []
    for case, image, original, heat, heat_before in zip(cases, images, originals, after, before, strict=True):
        region = region_mask(case.region, *heat.shape)
        outcomes.append(
            {
                "success": success_in_region(heat, region),
                "effect": share_in_region(heat, region) - share_in_region(heat_before, region),
                "outside_change": change_outside(original, image, region_mask(case.region, *image.shape[:2])),
            }
        )
    return outcomes


def _global_scores(
    judge: Any, target: str, cases: list[Case], images: list[np.ndarray], originals: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success: the judge finds the style more likely than not. effect: rise of its probability."""
    after, before = judge.style_score(images, target), judge.style_score(originals, target)
    return [
        {
            "success": bool(b >= 0.5),
            "effect": float(b - a),
            "outside_change": change_outside(original, image, None),
        }
        for original, image, a, b in zip(originals, images, before, after, strict=True)
    ]
