"""One edit that a user asks for: the image before, after and under the control, and a row that tells of them.

The control is one random direction a block, that moves every position as far as the edit does. All three images begin
with the same noise, and share the steps before the window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concepts import operations
from concepts.effects import change_outside, success_in_region
from concepts.interventions import edit_direction, random_direction
from concepts.judging import SEEN
from concepts.regions import cell_share
from diffusion.edits import Edit
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel, token_ids
from diffusion.sampling import Beginnings, sample
from sae.model import SAE
from storage.images import decode_png, encode_png
from storage.prompts import hashed_seed
from storage.vouch import digest_of_bytes
from study.errors import StudyError
from study.models import backend_of, borrowed_model
from study.study import Study
from study.threads import held_to
from tasks.edit_plan import EditPlan, SitePlan, places, plan_edit, region_name
from tasks.edit_request import ABLATE, ADD, CLAMP, PLACE, REPLACE, EditRequest
from tasks.edits import looks_of
from vision.errors import VisionError
from vision.words import mentions

PICTURES = ("before", "after", "control")


@dataclass(frozen=True)
class OneEdit:
    """``images``: of each of ``PICTURES``, uint8 [H, W, 3]; ``row``: of the table ``edits``."""

    images: dict[str, np.ndarray]
    row: dict[str, Any]


def make_edit(study: Study, request: EditRequest) -> OneEdit:
    """Plan, sample and judge one edit.

    Raises ``StudyError`` or another ``AtlasError``, one sentence, for what cannot be done: whatever tables can tell is
    told before a model is loaded.
    """
    return edit_as_planned(study, plan_edit(study, request))


def edit_as_planned(study: Study, plan: EditPlan) -> OneEdit:
    """Sample and judge. Raises as ``make_edit`` does."""
    with held_to(study.config.run.torch_threads):
        return _edited(study, plan)


def _edited(study: Study, plan: EditPlan) -> OneEdit:
    saes = [site.here.sae() for site in plan.sites]
    if plan.request.judge:
        looks_of(study)  # a judge that cannot be loaded is told before the images are made
    changes = [SiteChange(plan, site, sae) for site, sae in zip(plan.sites, saes, strict=True)]
    beginnings = Beginnings()
    with borrowed_model(study) as model:
        cautions = (*plan.cautions, *_of_prompt(study, plan, model))
        images = {
            name: _sampled(study, plan, model, edits, beginnings)
            for name, edits in (
                ("before", []),
                ("after", _edits(study, plan, changes, False)),
                ("control", _edits(study, plan, changes, True)),
            )
        }
    scores, unknown = judged(study, plan, images)
    return OneEdit(images, {**_row(study, plan, images), **scores, "cautions": [*cautions, *unknown]})


def _sampled(
    study: Study, plan: EditPlan, model: DiffusionModel, edits: list[Edit], beginnings: Beginnings
) -> np.ndarray:
    """uint8 [H, W, 3]. One image at a time: then an edit of nothing does what no edit does, to the last bit."""
    settings, prompt = study.config.sampling, plan.request.prompt
    try:
        return sample(model, [prompt], [plan.seed], settings, edits=edits, beginnings=beginnings).images[0]
    except NotFiniteError as error:
        raise StudyError(f"edit {plan.name}: {error}") from error


def _edits(study: Study, plan: EditPlan, changes: list[SiteChange], control: bool) -> list[Edit]:
    low, high, _ = plan.window
    blocks = study.config.sites.blocks
    return [Edit(blocks[c.site.block], low, high, c.applied(control), c.site.conditioning) for c in changes]


class SiteChange:
    """What the edit, or its control, does to the residual updates of one site."""

    def __init__(self, plan: EditPlan, at: SitePlan, sae: SAE) -> None:
        self.request, self.at, self.sae, self.share = plan.request, at, sae, plan.share
        self.site = at.here.site
        self.vectors = sae.concept_vectors().detach()
        self.cids = torch.tensor(at.cids, device=self.vectors.device)
        self.instead = torch.tensor(at.instead, device=self.vectors.device)
        self.direction_1D = edit_direction(self.vectors[self.cids])[None]
        # The same for every strength, window and region: so the controls of two edits differ in these alone.
        drawn = hashed_seed(at.here.study.config.seed, "edit", self.site.block, self.site.conditioning, plan.seed)
        self.random_D = random_direction(self.vectors.shape[1], drawn)

    def applied(self, control: bool) -> Callable[[Tensor, float], Tensor]:
        """What ``Edit`` calls with updates [1, rows, columns, D]."""
        return lambda delta, _t: delta + self._change(delta, control)

    def _change(self, delta: Tensor, control: bool) -> Tensor:
        change = torch.zeros_like(delta)
        for after, sign in self._parts(delta, self._share_of(delta)):
            part = after - delta
            change += sign * part.norm(dim=-1, keepdim=True) * self.random_D.to(delta) if control else part
        return change

    def _share_of(self, delta: Tensor) -> Tensor:
        """[1, rows, columns] in [0, 1]: how much of the region there is in each cell."""
        if self.share is None:
            return operations.ones(delta)
        _, rows, columns, _ = delta.shape
        return torch.from_numpy(cell_share(self.share, (rows, columns))).to(delta)[None]

    def _parts(self, delta: Tensor, share: Tensor) -> list[tuple[Tensor, float]]:
        """The update after each thing that is done to it, and whether its control adds (1) or takes away (-1)."""
        acts, amount = self.request.acts, self.request.amount
        if acts == ADD:
            return [(self._raised(delta, share), 1.0)]
        if acts == PLACE:
            # Outside, all that the concepts write goes, as in the paper; of a strength below 1 that share of it.
            outside = (1 - share) * min(max(amount, 0.0), 1.0)
            return [(self._raised(delta, share), 1.0), (self._ablated(delta, outside), -1.0)]
        if acts == ABLATE:
            return [(self._ablated(delta, amount * share), -1.0)]
        codes = self._codes(delta)
        if acts == REPLACE:
            taken = (delta, codes, self.vectors, self.instead, self.direction_1D, amount * share)
            return [(operations.replace(*taken), 1.0)]
        assert acts == CLAMP, acts
        levels = torch.tensor(self.at.levels)
        return [(operations.clamp(delta, codes, self.vectors, self.cids, levels, amount * share), 1.0)]

    def _raised(self, delta: Tensor, share: Tensor) -> Tensor:
        return operations.add(delta, self.direction_1D, self.request.amount * self.at.unit, share)

    def _ablated(self, delta: Tensor, share: Tensor) -> Tensor:
        return operations.ablate(delta, self._codes(delta), self.vectors, self.cids, share)

    def _codes(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        values, latents = self.sae.encode(delta.reshape(-1, delta.shape[-1]).to(self.vectors))
        return values, latents


def _of_prompt(study: Study, plan: EditPlan, model: DiffusionModel) -> list[str]:
    """What may surprise: an object that the prompt does not name, and words that the model does not read."""
    prompt, cautions = plan.request.prompt, []
    looks = looks_of(study) if plan.request.judge else study.config.interventions.styles
    unnamed = [label for label in plan.labels if label not in looks and not mentions(prompt, label)]
    if places(plan.request) and unnamed:
        cautions.append(
            f"the prompt does not name {unnamed[0]!r}: an edit moves what the prompt asks for, and seldom puts in "
            "what it does not"
        )
    if (tokens := len(token_ids(model, [prompt])[0])) > model.context:
        cautions.append(f"the model reads {model.context} tokens of the prompt, which has {tokens}: shorten it")
    return cautions


def judged(study: Study, plan: EditPlan, images: dict[str, np.ndarray]) -> tuple[dict[str, Any], list[str]]:
    """Of each image the judge's score and, of an object with a region, whether it is there; why there is none, if so.

    score: probability of a look, or the largest of an object at a pixel (of the region, if one is given).
    """
    empty = {f"{what}_{name}": None for what in ("score", "placed") for name in PICTURES}
    if not plan.request.judge or plan.judged is None:
        return {**empty, "judged": None}, []
    try:
        found = _scores(study, plan, plan.judged, images)
    except VisionError as error:
        return {**empty, "judged": None}, [f"no score of {plan.judged!r}: {error}"]
    return {**empty, **found, "judged": plan.judged}, []


def _scores(study: Study, plan: EditPlan, label: str, images: dict[str, np.ndarray]) -> dict[str, Any]:
    judge, shown = backend_of(study).judge, [images[name] for name in PICTURES]
    if label in looks_of(study):
        return {f"score_{n}": float(s) for n, s in zip(PICTURES, judge.style_score(shown, label), strict=True)}
    maps = judge.object_map(shown, label)
    inside = inside_of(plan, maps.shape[1:])
    found: dict[str, Any] = {f"score_{n}": float(heat[inside].max()) for n, heat in zip(PICTURES, maps, strict=True)}
    if plan.share is not None:
        found |= {f"placed_{n}": success_in_region(h, inside, SEEN) for n, h in zip(PICTURES, maps, strict=True)}
    return found


def inside_of(plan: EditPlan, shape: tuple[int, ...]) -> np.ndarray:
    """bool [H, W], of an image or of a judge's map: pixels of which half or more are in the region.

    A region so thin that no pixel is has all that it touches.
    """
    if plan.share is None:
        return np.ones(shape, bool)
    rows, columns = (np.arange(n) * have // n for n, have in zip(shape, plan.share.shape, strict=True))
    share = plan.share[np.ix_(rows, columns)]
    return share >= 0.5 if (share >= 0.5).any() else share > 0


def _row(study: Study, plan: EditPlan, images: dict[str, np.ndarray]) -> dict[str, Any]:
    request, (low, high, t) = plan.request, plan.window
    return {
        "edit": plan.name,
        "study": study.config.name,
        "config_hash": study.config_hash,
        "prompt": request.prompt,
        "seed": plan.seed,
        "concept": ", ".join(request.concept),
        "instead_of": ", ".join(request.instead_of) or None,
        "operation": request.acts,
        "strength": request.amount,
        "half": request.half,
        "window": request.window,
        "t_low": low,
        "t_high": high,
        "t": t,
        "region": region_name(request),
        "feather": request.feather,
        "sites": [site.here.site.path for site in plan.sites],
        "cids": [list(site.cids) for site in plan.sites],
        "instead_cids": [list(site.instead) for site in plan.sites],
        "unit_norms": [site.unit for site in plan.sites],
        **_pixels(plan, images),
        **{f"{name}_sha256": digest_of_bytes(encode_png(image)) for name, image in images.items()},
    }


def _pixels(plan: EditPlan, images: dict[str, np.ndarray]) -> dict[str, float | None]:
    """Mean change of pixels inside and outside the region, of the edit and of its control."""
    inside = inside_of(plan, images["before"].shape[:2])
    changes: dict[str, float | None] = {}
    for name, prefix in (("after", ""), ("control", "control_")):
        changes[f"{prefix}change_inside"] = change_outside(images["before"], images[name], ~inside)
        outside = None if inside.all() else change_outside(images["before"], images[name], inside)
        changes[f"{prefix}change_outside"] = outside
    return changes


def decoded(folder: Path) -> dict[str, np.ndarray]:
    """The pictures of an edit that was written into a folder."""
    return {name: decode_png((folder / f"{name}.png").read_bytes()) for name in PICTURES}
