"""Choosing the strength of an edit on prompts that no result is reported on.

The paper's strengths cannot be copied (``concepts/interventions.py`` says why), and a strength picked on the reported
prompts would flatter the result. So every kind of edit in every window tries its strengths on prompts of the dictionary
split, and ``concepts/strengths.py`` picks the one that serves the style split.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.edit_controls import RANDOM
from concepts.settings import REGIONS
from concepts.strengths import Outcomes, best_strength, better_half, halving_rounds, trial_columns
from storage.tables import read_table
from study.publish import publish
from study.study import Study
from study.units import Calibration, PlannedEdit, strengths_of, targets_of
from tasks.editor import Editor, Recipe
from tasks.edits import cases_of, originals_of
from tasks.judging import score

STAGE = "calibrate"
Images = list[np.ndarray]
RandomImages = dict[tuple[Any, ...], Images]  # by where, how strongly and to which cases a random direction was added


def run_calibration(study: Study, calibration: Calibration) -> dict[str, Any]:
    """Try the strengths, write ``calibrations`` rows and record the chosen strength."""
    rows = trials_of(study, calibration)
    settings = study.config.interventions
    chosen = best_strength(rows, strengths_of(study, calibration.kind), settings.halved)
    publish(study, STAGE, calibration.name, {"calibrations": rows}, extra={"strength": chosen})
    return {"calibration": calibration.name, "strength": chosen}


def trials_of(study: Study, calibration: Calibration) -> list[dict[str, Any]]:
    """The rows of every target and strength that was tried."""
    settings = study.config.interventions
    shared: RandomImages | None = {} if settings.halved else None
    trials = [Trial(study, calibration, target, shared) for target in targets_of(study, calibration.kind)]
    trials = [trial for trial in trials if trial.cases and trial.editor.places]
    apart = not settings.halved or settings.strength_by == "target"
    for together in [[trial] for trial in trials] if apart else [trials] if trials else []:
        _try_strengths(study, calibration.kind, together)
    return [row for trial in trials for row in trial.rows()]


def _try_strengths(study: Study, kind: str, trials: list[Trial]) -> None:
    """Of targets that give up on the same strengths: on all their images or, by halving, on more in each round."""
    strengths = list(strengths_of(study, kind))
    images = max(len(trial.cases) for trial in trials)
    rounds = halving_rounds(images, len(strengths)) if study.config.interventions.halved else [images]
    for so_far, until in zip([0, *rounds], rounds, strict=False):
        for strength in strengths:
            for trial in trials:
                trial.go_on(strength, so_far, until)
        if until < images:
            strengths = better_half([row for trial in trials for row in trial.rows()], strengths)


class Trial:
    """The strengths of one target in one window: what has been made of its cases by each so far."""

    def __init__(self, study: Study, calibration: Calibration, target: str, shared: RandomImages | None) -> None:
        """``shared``: images of random directions that serve all targets of a global kind; None: each draws its own."""
        self.study, self.edit = study, PlannedEdit(calibration.kind, target, calibration.window)
        images = study.config.interventions.calibration_images
        prompts = -(-images // len(REGIONS)) if calibration.kind == "spatial" else images
        self.cases = cases_of(study, calibration.kind, target, "dictionary", prompts)
        self.before = originals_of(study, self.cases)
        self.editor = Editor(study, Recipe.of(study, self.edit, 1.0))
        self.shared = shared if calibration.kind == "global" else None
        self.told: dict[float, tuple[Outcomes, Outcomes]] = {}

    def go_on(self, strength: float, so_far: int, until: int) -> None:
        """Try a strength on the cases from ``so_far`` up to ``until``, by the concepts and by random directions."""
        cases, before = self.cases[so_far:until], self.before[so_far:until]
        by_concepts = self.editor.again(Recipe.of(self.study, self.edit, strength)).run(cases)
        both = self.told.setdefault(strength, ([], []))
        for told, images in zip(both, (by_concepts, self._at_random(strength, cases)), strict=True):
            told += score(self.study, self.edit, cases, images, before)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each strength that was tried."""
        tried = {"kind": self.edit.kind, "window": self.edit.window, "target": self.edit.target}
        return [{**tried, "strength": strength} | trial_columns(*told) for strength, told in self.told.items()]

    def _at_random(self, strength: float, cases: list[Case]) -> Images:
        recipe = Recipe.of(self.study, self.edit, strength, RANDOM)
        if self.shared is None:
            return self.editor.again(recipe).run(cases)
        recipe = replace(recipe, name=f"{self.edit.kind}-{self.edit.window}")  # directions of no target's own
        where = tuple(place.here.site for place in self.editor.places)
        key = (where, strength, tuple(case.prompt_id for case in cases))
        if key not in self.shared:
            self.shared[key] = self.editor.again(recipe).run(cases)
        return self.shared[key]


def strength_of(study: Study, edit: PlannedEdit) -> float:
    """The calibrated strength that serves an edit: of its kind and window or, if so configured, of its target too."""
    strengths = strengths_of(study, edit.kind)
    if len(strengths) == 1:
        return strengths[0]
    filters = [("kind", "==", edit.kind), ("window", "==", edit.window), *of_target(study, edit.target)]
    rows = read_table(study.root, "calibrations", filters=filters).to_pylist()
    return best_strength(rows, strengths, study.config.interventions.halved)


def of_target(study: Study, target: str) -> list[tuple[str, str, str]]:
    """What picks the trials that choose a target's strength, of those of its kind."""
    return [("target", "==", target)] if study.config.interventions.strength_by == "target" else []
