"""Choosing the strength of an edit on prompts that no result is reported on.

The paper's strengths cannot be copied (``concepts/interventions.py`` says why), and a strength picked on the reported
prompts would flatter the result. So every kind of edit in every window tries its strengths on prompts of the dictionary
split, and ``concepts/strengths.py`` picks the one that serves the style split.
"""

from __future__ import annotations

from typing import Any

from concepts.edit_controls import CONCEPTS, RANDOM
from concepts.settings import REGIONS
from concepts.strengths import best_strength, trial_columns
from storage.tables import read_table
from study.publish import publish
from study.study import Study
from study.units import Calibration, PlannedEdit, strengths_of, targets_of
from tasks.editor import Editor, Recipe
from tasks.edits import cases_of, originals_of
from tasks.judging import score

STAGE = "calibrate"


def run_calibration(study: Study, calibration: Calibration) -> dict[str, Any]:
    """Try every strength, write ``calibrations`` rows and record the chosen strength."""
    rows = [row for target in targets_of(study, calibration.kind) for row in _try_strengths(study, calibration, target)]
    chosen = best_strength(rows, strengths_of(study, calibration.kind))
    publish(study, STAGE, calibration.name, {"calibrations": rows}, extra={"strength": chosen})
    return {"calibration": calibration.name, "strength": chosen}


def _try_strengths(study: Study, calibration: Calibration, target: str) -> list[dict[str, Any]]:
    settings = study.config.interventions
    edit = PlannedEdit(calibration.kind, target, calibration.window)
    images = settings.calibration_images
    prompts = -(-images // len(REGIONS)) if edit.kind == "spatial" else images
    cases = cases_of(study, edit.kind, target, "dictionary", prompts)
    editor = Editor(study, Recipe.of(study, edit, 1.0))
    if not cases or not editor.places:
        return []
    before = originals_of(study, cases)
    rows = []
    for strength in strengths_of(study, edit.kind):
        outcomes, of_random = (
            score(study, edit, cases, editor.again(recipe).run(cases), before)
            for recipe in (Recipe.of(study, edit, strength, control) for control in (CONCEPTS, RANDOM))
        )
        tried = {"kind": edit.kind, "window": edit.window, "target": target, "strength": strength}
        rows.append(tried | trial_columns(outcomes, of_random))
    return rows


def strength_of(study: Study, edit: PlannedEdit) -> float:
    """The calibrated strength that serves an edit: of its kind and window or, if so configured, of its target too."""
    strengths = strengths_of(study, edit.kind)
    if len(strengths) == 1:
        return strengths[0]
    filters = [("kind", "==", edit.kind), ("window", "==", edit.window), *of_target(study, edit.target)]
    return best_strength(read_table(study.root, "calibrations", filters=filters).to_pylist(), strengths)


def of_target(study: Study, target: str) -> list[tuple[str, str, str]]:
    """What picks the trials that choose a target's strength, of those of its kind."""
    return [("target", "==", target)] if study.config.interventions.strength_by == "target" else []
