"""Judging edited images: asks the vision backend's judge of each, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.judging import ObjectsKept, global_outcomes, spatial_outcomes
from study.models import backend_of
from study.reading import study_labels
from study.study import Study
from study.units import PlannedEdit
from tasks.edits import looks_of
from vision.words import mentions


def score(
    study: Study, edit: PlannedEdit, cases: list[Case], images: list[np.ndarray], before: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success, effect and outside_change of each edited image, by the vision backend's judge."""
    judge = backend_of(study).judge
    if edit.kind == "spatial":
        maps, maps_before = judge.object_map(images, edit.target), judge.object_map(before, edit.target)
        floor = study.config.interventions.judge_floor
        return spatial_outcomes([case.region for case in cases], images, before, maps, maps_before, floor)
    return global_outcomes(
        images, before, judge.style_score(images, edit.target), judge.style_score(before, edit.target)
    )


def objects_kept(
    study: Study, cases: list[Case], images: list[np.ndarray], before: list[np.ndarray]
) -> list[float | None]:
    """Of what each caption names and the judge sees in the unedited image, the share it still sees; None for nothing.

    A look is not among it: it is what a global edit is to change.
    """
    judge, looks, kept = backend_of(study).judge, looks_of(study), ObjectsKept(len(cases))
    for label in study_labels(study):
        named = [i for i, case in enumerate(cases) if label not in looks and mentions(case.caption, label)]
        if named:
            was, is_now = (judge.object_map([of[i] for i in named], label) for of in (before, images))
            kept.add(named, was, is_now)
    return kept.shares()
