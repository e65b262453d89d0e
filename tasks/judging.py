"""Judging edited images: asks the vision backend's judge of each, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.judging import ThingsKept, global_outcomes, seen, spatial_outcomes
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
    return NamedThings(study, cases, before).judged(images).shares()


class NamedThings:
    """Where the judge sees, in the unedited images of some cases, the things that their captions name, looks apart.

    Looked at once, for all the edits that are made of them.
    """

    def __init__(self, study: Study, cases: list[Case], before: list[np.ndarray], target: str | None = None) -> None:
        """``target``: what the edits are to move, if it is a thing."""
        self.judge, self.images, self.target = backend_of(study).judge, len(cases), target
        looks = looks_of(study)
        named = {
            label: [i for i, case in enumerate(cases) if mentions(case.caption, label)]
            for label in study_labels(study)
            if label not in looks
        }
        self.named = {label: which for label, which in named.items() if which}
        self.before = {label: self._seen(before, label) for label in self.named}

    def judged(self, images: list[np.ndarray]) -> ThingsKept:
        """What has become of them in the edited images, one for each case."""
        kept = ThingsKept(self.images)
        for label, which in self.named.items():
            kept.add(which, self.before[label], self._seen(images, label), moved=label == self.target)
        return kept

    def unchanged(self) -> ThingsKept:
        """What is to be said of the unedited images themselves."""
        kept = ThingsKept(self.images)
        for label, which in self.named.items():
            kept.add(which, self.before[label], self.before[label], moved=label == self.target)
        return kept

    def _seen(self, images: list[np.ndarray], label: str) -> np.ndarray:
        """bool [images whose caption names the label, H, W]; an image that is given twice is looked at once."""
        wanted = [images[i] for i in self.named[label]]
        once = {id(image): image for image in wanted}
        found = dict(zip(once, seen(self.judge.object_map(list(once.values()), label)), strict=True))
        return np.stack([found[id(image)] for image in wanted])
