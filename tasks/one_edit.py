"""One edit that a user asks for: the image before, after and under the control, and a row that tells of them.

The control is one random direction a part and block, that moves every position as far as the edit does; further ones
are drawn where they are asked for, and only scored. All images begin with the same noise, and share the steps before
the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from concepts.effects import change_outside
from diffusion.edits import Edit, Watch
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel, token_ids
from diffusion.sampling import Beginnings, sample
from storage.images import decode_png, encode_png
from storage.vouch import digest_of_bytes
from study.errors import StudyError
from study.models import borrowed_model
from study.study import Study
from study.threads import held_to
from tasks.edit_off import OffDistribution
from tasks.edit_plan import plan_edit
from tasks.edit_request import EditRequest
from tasks.edit_scores import PICTURES, judged
from tasks.edit_steps import Told, steps_of, steps_told
from tasks.edit_terms import EditPlan, PartPlan
from tasks.edits import looks_of
from tasks.site_change import SiteChange, changes_of, edits_of
from vision.words import mentions


@dataclass(frozen=True)
class OneEdit:
    """``images``: of each of ``PICTURES``, uint8 [H, W, 3]; ``row``: of the table ``edits``."""

    images: dict[str, np.ndarray]
    row: dict[str, Any]


def make_edit(study: Study, request: EditRequest, told: Told | None = None) -> OneEdit:
    """Plan, sample and judge one edit. ``told`` hears of its steps.

    Raises ``StudyError`` or another ``AtlasError``, one sentence, for what cannot be done: whatever tables can tell is
    told before a model is loaded.
    """
    return edit_as_planned(study, plan_edit(study, request), told)


def edit_as_planned(study: Study, plan: EditPlan, told: Told | None = None) -> OneEdit:
    """Sample and judge. Raises as ``make_edit`` does."""
    with held_to(study.config.run.torch_threads):
        return _edited(study, plan, told)


def _edited(study: Study, plan: EditPlan, told: Told | None) -> OneEdit:
    changes = changes_of(plan)
    if plan.request.judge:
        looks_of(study)  # a judge that cannot be loaded is told before the images are made
    sampled, off = Sampled(study, plan), OffDistribution(study, plan)
    drawn = batches(range(1, controls_of(plan)), study.config.sampling.batch_size)
    steps = steps_of(plan, study.config.sampling.steps, len(drawn))
    with borrowed_model(study) as model, steps_told(model, told, steps):
        cautions = (*plan.cautions, *_of_prompt(study, plan, model))
        edits: tuple[list[Edit], ...] = ([], edits_of(study, changes, None), edits_of(study, changes, [0]))
        # One image at a time: then an edit of nothing does what no edit does, to the last bit.
        images = {
            name: sampled.by(model, each, 1, off.watches(name, 1))[0]
            for name, each in zip(PICTURES, edits, strict=True)
        }
        others = []
        for numbers in drawn:
            others += sampled.by(model, edits_of(study, changes, numbers), len(numbers))
    scores, unknown = judged(study, plan, images, others)
    row = _row(study, plan, changes, images)
    unknown += [off.caution] if off.caution else []
    return OneEdit(images, {**row, **scores, **off.columns(), "cautions": [*cautions, *unknown]})


def controls_of(plan: EditPlan) -> int:
    """Controls that are drawn: without a label to score, more than the one that is seen would tell nothing."""
    return plan.request.controls if plan.judged is not None else 1


def batches(numbers: range, size: int) -> list[range]:
    """Runs of so many, the last one of what is left."""
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


class Sampled:
    """Images of the plan's prompt and seed, whose common beginnings are sampled once."""

    def __init__(self, study: Study, plan: EditPlan) -> None:
        self.study, self.plan, self.beginnings = study, plan, Beginnings()

    def by(
        self, model: DiffusionModel, edits: Sequence[Edit], count: int, watches: Sequence[Watch] = ()
    ) -> list[np.ndarray]:
        """``count`` images uint8 [H, W, 3] in one batch. Raises ``StudyError`` for numbers that are not finite."""
        prompts, seeds = [self.plan.request.prompt] * count, [self.plan.seed] * count
        settings = self.study.config.sampling
        try:
            return list(
                sample(model, prompts, seeds, settings, edits=edits, beginnings=self.beginnings, watches=watches).images
            )
        except NotFiniteError as error:
            raise StudyError(f"edit {self.plan.name}: {error}") from error


def _of_prompt(study: Study, plan: EditPlan, model: DiffusionModel) -> list[str]:
    """What may surprise: an object that the prompt does not name, and words that the model does not read."""
    prompt = plan.request.prompt
    looks = looks_of(study) if plan.request.judge else study.config.interventions.styles
    placed = dict.fromkeys(label for planned in plan.parts if planned.places for label in planned.part.labels)
    unnamed = [label for label in placed if label not in looks and not mentions(prompt, label)]
    cautions = [
        f"the prompt does not name {label!r}: an edit moves what the prompt asks for, and seldom puts in what it does "
        "not"
        for label in unnamed[:1]
    ]
    if (tokens := len(token_ids(model, [prompt])[0])) > model.context:
        cautions.append(f"the model reads {model.context} tokens of the prompt, which has {tokens}: shorten it")
    return cautions


def _row(study: Study, plan: EditPlan, changes: list[SiteChange], images: dict[str, np.ndarray]) -> dict[str, Any]:
    own = [[change for change in changes if change.number == number] for number in range(len(plan.parts))]
    parts = [_part_facts(planned, here) for planned, here in zip(plan.parts, own, strict=True)]
    return {
        "edit": plan.name,
        "study": study.config.name,
        "config_hash": study.config_hash,
        "prompt": plan.request.prompt,
        "seed": plan.seed,
        **parts[0],
        "more_parts": parts[1:],
        "controls": controls_of(plan),
        **_pixels(plan, images),
        **{f"{name}_sha256": digest_of_bytes(encode_png(image)) for name, image in images.items()},
    }


def _part_facts(planned: PartPlan, here: list[SiteChange]) -> dict[str, Any]:
    """The columns of one part."""
    part, (low, high, t) = planned.part, planned.window
    return {
        "concept": ", ".join(part.concept),
        "instead_of": ", ".join(part.instead_of) or None,
        "operation": part.acts,
        "strength": part.amount,
        "schedule": part.schedule,
        "quantile": part.quantile,
        "half": part.half,
        "window": part.window,
        "t_low": low,
        "t_high": high,
        "t": t,
        "region": planned.region,
        "feather": part.feather,
        "sites": [change.site.path for change in here],
        "cids": [list(change.at.cids) for change in here],
        "instead_cids": [list(change.at.instead) for change in here],
        "levels": [list(change.at.levels) for change in here],
        "unit_norms": [change.at.unit for change in here],
    }


def _pixels(plan: EditPlan, images: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Mean change of pixels inside and outside the regions, of the edit and of its control."""
    inside = plan.inside(images["before"].shape[:2])
    changes: dict[str, float | None] = {}
    for name, prefix in (("after", ""), ("control", "control_")):
        changes[f"{prefix}change_inside"] = change_outside(images["before"], images[name], ~inside)
        outside = None if inside.all() else change_outside(images["before"], images[name], inside)
        changes[f"{prefix}change_outside"] = outside
    return changes


def decoded(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of an edit that was written into a folder."""
    return {name: decode_png((folder / f"{name}.png").read_bytes()) for name in PICTURES}
