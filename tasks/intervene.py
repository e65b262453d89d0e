"""Intervening: one target in one window, all its prompts and regions, beside its controls, as one unit of work."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.cases import CONCEPTS, RANDOM, UNEDITED, Case
from storage.images import encode_png
from study.plans import Unit
from study.publish import publish
from study.study import Study
from tasks.calibrate import strength_of
from tasks.edits import Editor, cases_of, originals_of, target_cids
from tasks.judging import objects_kept, score


def run_unit(study: Study, unit: Unit) -> dict[str, Any]:
    """Edit every case with the target's concepts and with random directions; write ``interventions`` rows.

    Rows with control ``unedited`` score the untouched images: the chance level. A target that no concept carries is
    recorded with cid_count 0 and no edited rows.
    """
    settings = study.config.interventions
    cases = cases_of(study, unit.kind, unit.target, "style", settings.prompts_per_target)
    cids = target_cids(study, unit)
    strength = strength_of(study, unit)
    before = originals_of(study, cases)
    rows = _rows(study, unit, cases, before, before, UNEDITED, len(cids), 0.0)
    if cids and cases:
        for control in (CONCEPTS, RANDOM):
            images = Editor(study, unit, cids, strength, control).run(cases)
            rows += _rows(study, unit, cases, images, before, control, len(cids), strength)
    publish(study, "intervene", unit.name, {"interventions": rows}, extra={"cids": cids, "cases": len(cases)})
    return {"unit": unit.name, "cids": len(cids), "rows": len(rows)}


def _rows(
    study: Study,
    unit: Unit,
    cases: list[Case],
    images: list[np.ndarray],
    before: list[np.ndarray],
    control: str,
    cid_count: int,
    strength: float,
) -> list[dict[str, Any]]:
    if not cases:
        return []
    settings = study.config.interventions
    keep = settings.keep_images and control != UNEDITED
    looked_after = unit.kind == "global" and control != UNEDITED  # a spatial edit is to move things
    kept = objects_kept(study, cases, images, before) if looked_after else [None] * len(cases)
    outcomes = score(study, unit, cases, images, before)
    return [
        {
            "prompt_id": case.prompt_id,
            "kind": unit.kind,
            "block": settings.block_of(unit.kind),
            "t": settings.windows[unit.window][2],
            "window": unit.window,
            "target": unit.target,
            "cid_count": cid_count,
            "region": case.region,
            "strength": strength,
            "control": control,
            "seed": case.seed,
            "image": encode_png(image) if keep else None,
            "objects_kept": stay,
            **outcome,
        }
        for case, image, stay, outcome in zip(cases, images, kept, outcomes, strict=True)
    ]
