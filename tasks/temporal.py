"""The temporal atlas: one kind of edit of one target, made in a short window at every onset, beside its controls.

Both kinds are made of the same prompts and seeds. A place is asked for where the unedited image does not have the
object, so that nothing succeeds untouched; strengths are those of the window that edits of the kind did best in, on
prompts of the dictionary split (``calibrations``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from concepts.cases import EVERYWHERE, Case
from concepts.edit_controls import UNEDITED, beside, edited
from concepts.effects import centre_of_mass
from concepts.judging import SEEN
from concepts.onset_grid import onset_windows
from concepts.strengths import best_window
from storage.tables import read_table
from study.models import backend_of
from study.publish import publish
from study.reading import prompts_of_split
from study.study import Study
from study.units import PlannedEdit, strengths_of, targets_of
from tasks.calibrate import of_target
from tasks.editor import Editor, Recipe
from tasks.edits import looks_of, originals_of
from tasks.judging import objects_kept, score
from vision.words import mentions

SPLITS = ("style", "layout")  # nothing about edits is chosen on either


def run_onsets(study: Study, kind: str, target: str) -> dict[str, Any]:
    """Edit every case from every onset, by concepts and by each control; write ``temporal_atlas`` rows."""
    cases = cases_of_target(study, kind, target)
    rows: list[dict[str, Any]] = []
    recipe = _recipe(study, kind, target)
    editor = Editor(study, recipe)
    if cases and editor.cid_count:
        before = originals_of(study, cases)
        for length in study.config.atlas.lengths:
            for one in _over_onsets(study, recipe, length):
                images = before if one.control == UNEDITED else editor.again(one).run(cases)
                rows += [{**row, "length": length} for row in _judged(study, one, cases, images, before)]
    publish(study, "onsets", f"{kind}-{target}", {"temporal_atlas": rows})
    return {"unit": f"{kind}-{target}", "rows": len(rows)}


def cases_of_target(study: Study, kind: str, target: str) -> list[Case]:
    """Of an object the prompts that name it first; of a look its turn among all prompts."""
    fitting = atlas_cases(study, kind)
    if kind == "spatial":
        return [case for named, case in fitting if named == target]
    looks = targets_of(study, kind)
    takes, look = study.config.atlas.takes, looks.index(target)
    return [case for place, (_, case) in enumerate(fitting) if takes(place, look, len(looks))]


def _over_onsets(study: Study, recipe: Recipe, length: float) -> Iterator[Recipe]:
    """The unedited images, and an edit by concepts and by each control from every onset."""
    settings = study.config.atlas
    yield replace(recipe, control=UNEDITED, strength=0.0)
    for low, high in onset_windows(study.config.sampling.steps, length, settings.onsets):
        for control in edited(settings.controls, recipe.kind):
            yield replace(recipe, t_low=low, t_high=high, control=control)


def atlas_cases(study: Study, kind: str) -> list[tuple[str, Case]]:
    """(object that the caption names first, case) of every prompt of the atlas: the first of those that fit."""
    return list(islice(fitting_cases(study, kind), study.config.atlas.prompts))


def fitting_cases(study: Study, kind: str) -> Iterator[tuple[str, Case]]:
    """(object that the caption names first, case) of every prompt that fits, in their order, as each is looked at.

    A spatial case asks for the quadrant to the left or right of where the object lies in the unedited image; a prompt
    whose object the judge does not see there is left out, of both kinds.
    """
    objects, looks = study.config.interventions.objects, looks_of(study)
    for row in (row for split in SPLITS for row in prompts_of_split(study, split).to_pylist()):
        caption = row["caption"]
        named = [label for label in objects if mentions(caption, label)]
        if not named or any(mentions(caption, look) for look in looks):
            continue
        first = _first_named(caption, named)
        case = Case(row["prompt_id"], caption, row["seed"], EVERYWHERE)
        if away := _away(study, first, case):
            yield first, case if kind == "global" else replace(case, region=away)


def _first_named(caption: str, labels: list[str]) -> str:
    return min(labels, key=lambda label: caption.lower().find(label.lower()))


def _away(study: Study, label: str, case: Case) -> str | None:
    """The quadrant beside that of the object's centre of mass in the unedited image; None where it is not seen."""
    (heat,) = backend_of(study).judge.object_map(originals_of(study, [case]), label)
    centre = centre_of_mass(np.where(heat >= SEEN, heat, 0.0))
    if centre is None:
        return None
    vertical = "top" if centre[0] < (heat.shape[0] - 1) / 2 else "bottom"
    return beside(f"{vertical}_{'left' if centre[1] < (heat.shape[1] - 1) / 2 else 'right'}")


def _recipe(study: Study, kind: str, target: str) -> Recipe:
    """Served at every step by the SAE of the nearest time."""
    settings = study.config.interventions
    planned = PlannedEdit(kind, target, next(iter(settings.windows)))
    recipe = Recipe.of(study, planned, best_calibrated(study, kind, target))
    return replace(recipe, times=tuple(study.config.sites.times), t_low=0.0, t_high=1.0, name=f"atlas-{kind}-{target}")


def best_calibrated(study: Study, kind: str, target: str | None = None) -> float:
    """The calibrated strength in the window where edits of the kind did best beside random directions.

    Of a target, those of its own images alone, where strengths are chosen by target.
    """
    strengths = strengths_of(study, kind)
    if len(strengths) == 1:
        return strengths[0]
    filters = [("kind", "==", kind), *(of_target(study, target) if target else ())]
    rows = read_table(study.root, "calibrations", filters=filters).to_pylist()
    return best_window(rows, strengths, study.config.interventions.halved)[1]


def _judged(
    study: Study, recipe: Recipe, cases: list[Case], images: list[np.ndarray], before: list[np.ndarray]
) -> list[dict[str, Any]]:
    planned = PlannedEdit(recipe.kind, recipe.target, "")
    kept = objects_kept(study, cases, images, before)
    return [
        {
            "kind": recipe.kind,
            "target": recipe.target,
            "blocks": "+".join(recipe.blocks),
            "onset": recipe.t_high,
            "ends": recipe.t_low,
            "control": recipe.control,
            "prompt_id": case.prompt_id,
            "region": case.region,
            "seed": case.seed,
            "strength": recipe.strength,
            "objects_kept": stay,
            **outcome,
        }
        for case, stay, outcome in zip(cases, kept, score(study, planned, cases, images, before), strict=True)
    ]
