"""Intervening: one target in one window, all its prompts and regions, its controls too, as one unit of work."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.cases import Case
from concepts.edit_controls import UNEDITED, edited
from storage.images import encode_png
from study.located import blocks_of
from study.publish import publish
from study.study import Study
from study.units import PlannedEdit
from tasks.calibrate import strength_of
from tasks.damage import Damage
from tasks.editor import Editor, Recipe
from tasks.edits import cases_of, originals_of
from tasks.judging import score
from tasks.resemblance import resemblances


def run_edits(study: Study, edit: PlannedEdit) -> dict[str, Any]:
    """Edit every case with the target's concepts and with every control; write ``interventions`` rows.

    Rows with control ``unedited`` score the untouched images: the chance level. A target that no concept carries is
    recorded with cid_count 0 and no edited rows.
    """
    settings = study.config.interventions
    cases = cases_of(study, edit.kind, edit.target, "style", settings.prompts_of(edit.kind))
    strength = strength_of(study, edit)
    before = originals_of(study, cases)
    editor = Editor(study, Recipe.of(study, edit, strength))
    count, words = editor.cid_count, editor.words() if settings.similarity and edit.kind == "global" else []
    damage = Damage(study, edit, cases, before, editor)
    rows = _rows(study, edit, cases, before, before, damage.unedited(), UNEDITED, count, 0.0)
    if count and cases:
        for control in edited(settings.controls, edit.kind):
            images, cost = damage.edited(editor.again(Recipe.of(study, edit, strength, control)))
            rows += _rows(study, edit, cases, images, before, cost, control, count, strength, words)
    publish(study, "intervene", edit.name, {"interventions": rows}, extra={"cids": count, "cases": len(cases)})
    return {"unit": edit.name, "cids": count, "rows": len(rows)}


def _rows(
    study: Study,
    edit: PlannedEdit,
    cases: list[Case],
    images: list[np.ndarray],
    before: list[np.ndarray],
    cost: list[dict[str, Any]],
    control: str,
    cid_count: int,
    strength: float,
    words: list[str] | None = None,
) -> list[dict[str, Any]]:
    """``cost``: columns of the damage; ``words``: the concepts', for the similarity of globally edited images."""
    if not cases:
        return []
    settings = study.config.interventions
    keep = settings.keep_images and control != UNEDITED
    outcomes = score(study, edit, cases, images, before)
    if edit.kind == "global" and control != UNEDITED:
        resembling = resemblances(study, words or [], images, before)
        outcomes = [outcome | more for outcome, more in zip(outcomes, resembling, strict=True)]
    return [
        {
            "prompt_id": case.prompt_id,
            "kind": edit.kind,
            "block": "+".join(blocks_of(study, edit.kind)),
            "t": settings.windows[edit.window][2],
            "window": edit.window,
            "target": edit.target,
            "cid_count": cid_count,
            "region": case.region,
            "strength": strength,
            "control": control,
            "seed": case.seed,
            "image": encode_png(image) if keep else None,
            **outcome,
            **lost,
        }
        for case, image, outcome, lost in zip(cases, images, outcomes, cost, strict=True)
    ]
