"""What an edit that a user asks for, or a control of it, does to the residual updates of a block while it samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from concepts import operations
from concepts.interventions import edit_direction, random_direction
from concepts.regions import cell_share
from diffusion.edits import Edit
from diffusion.times import in_window
from sae.model import SAE
from storage.prompts import hashed_seed
from storage.store_metadata import NoStoreError
from study.errors import StudyError
from study.study import Study
from tasks.edit_request import ABLATE, ADD, CLAMP, PLACE, REPLACE
from tasks.edit_terms import EditPlan, SitePlan

Drawn = Sequence[int] | None  # numbers of the controls that a batch is of, one an image; None for the edit itself


def changes_of(plan: EditPlan) -> list[SiteChange]:
    """Of every part at every site, with its SAE. Raises as ``Dictionary.sae`` and ``levelled`` do."""
    saes: dict[str, SAE] = {}
    changes = []
    for number, part in enumerate(plan.parts):
        for at in part.sites:
            path = at.here.site.path
            if path not in saes:
                saes[path] = at.here.sae()
            changes.append(SiteChange(plan, number, levelled(at, part.part.quantile, saes[path]), saes[path]))
    return changes


def levelled(at: SitePlan, quantile: float | None, sae: SAE) -> SitePlan:
    """With the levels that clamp turns the concepts to, where they are a quantile of the dictionary split's codes.

    Raises ``StudyError`` where the activations that these follow from are gone.
    """
    if quantile is None:
        return at
    cids, values, latents = list(at.cids), list[np.ndarray](), list[np.ndarray]()
    try:
        for codes in at.here.codes(sae, "dictionary"):
            own = np.isin(codes.latents, cids)
            values.append(codes.values[own])
            latents.append(codes.latents[own])
    except NoStoreError as error:
        raise StudyError(
            f"quantile {quantile:g} is of the concepts' activations, which {at.here.study.root} no longer has: leave "
            "quantile out for the largest, which its tables have"
        ) from error
    levels = operations.activation_levels(np.concatenate(values), np.concatenate(latents), cids, quantile)
    return replace(at, levels=tuple(levels.tolist()))


def edits_of(study: Study, changes: list[SiteChange], drawn: Drawn) -> list[Edit]:
    """One for each block and half: all parts there act on the update as the block gave it, and their changes add up."""
    places: dict[tuple[str, str], list[SiteChange]] = {}
    for change in changes:
        places.setdefault((change.site.block, change.site.conditioning), []).append(change)
    return [
        Edit(
            study.config.sites.blocks[block],
            min(change.low for change in here),
            max(change.high for change in here),
            partial(_changed, [(change, change.randoms(drawn)) for change in here]),
            half,
        )
        for (block, half), here in places.items()
    ]


def _changed(here: list[tuple[SiteChange, Tensor | None]], delta: Tensor, t: float) -> Tensor:
    change = torch.zeros_like(delta)
    for one, random_BD in here:
        if in_window(t, one.low, one.high):
            change += one.of(delta, t, random_BD)
    return delta + change


class SiteChange:
    """What a part of the edit, or its control, does to the residual updates of one site."""

    def __init__(self, plan: EditPlan, number: int, at: SitePlan, sae: SAE) -> None:
        self.number, self.at, self.sae, self.seed = number, at, sae, plan.seed
        self.planned = plan.parts[number]
        self.low, self.high, _ = self.planned.window
        self.site = at.here.site
        self.vectors = sae.concept_vectors().detach()
        self.cids = torch.tensor(at.cids, device=self.vectors.device)
        self.instead = torch.tensor(at.instead, device=self.vectors.device)
        self.direction_1D = edit_direction(self.vectors[self.cids])[None]

    def randoms(self, drawn: Drawn) -> Tensor | None:
        """Unit directions [B, D] of controls by their numbers.

        The same for every strength, window and region, so that the controls of two edits differ in these alone; of
        every further part others, so that two parts do not cancel each other in a control.
        """
        if drawn is None:
            return None
        known = (self.at.here.study.config.seed, "edit", self.site.block, self.site.conditioning, self.seed)
        return torch.stack(
            [self._random((*known, *((self.number, draw) if self.number or draw else ()))) for draw in drawn]
        )

    def _random(self, known: tuple[object, ...]) -> Tensor:
        return random_direction(self.vectors.shape[1], hashed_seed(*known))

    def of(self, delta: Tensor, t: float, random_BD: Tensor | None = None) -> Tensor:
        """What is added to updates [B, rows, columns, D] at a time; along random directions as much in norm."""
        change = torch.zeros_like(delta)
        for after, sign in self._steps(delta, self._share_of(delta), self.planned.amount(t)):
            step = after - delta
            if random_BD is not None:
                step = sign * step.norm(dim=-1, keepdim=True) * random_BD[:, None, None, :].to(delta)
            change += step
        return change

    def _share_of(self, delta: Tensor) -> Tensor:
        """[B or 1, rows, columns] in [0, 1]: how much of the region there is in each cell."""
        share = self.planned.share
        if share is None:
            return operations.ones(delta)
        _, rows, columns, _ = delta.shape
        return torch.from_numpy(cell_share(share, (rows, columns))).to(delta)[None]

    def _steps(self, delta: Tensor, share: Tensor, amount: float) -> list[tuple[Tensor, float]]:
        """The update after each thing that is done to it, and whether its control adds (1) or takes away (-1)."""
        acts = self.planned.part.acts
        if acts == ADD:
            return [(self._raised(delta, share, amount), 1.0)]
        if acts == PLACE:
            # Outside, all that the concepts write goes, as in the paper; of a strength below 1 that share of it.
            outside = (1 - share) * min(max(amount, 0.0), 1.0)
            return [(self._raised(delta, share, amount), 1.0), (self._ablated(delta, outside), -1.0)]
        if acts == ABLATE:
            return [(self._ablated(delta, amount * share), -1.0)]
        codes = self._codes(delta)
        if acts == REPLACE:
            taken = (delta, codes, self.vectors, self.instead, self.direction_1D, amount * share)
            return [(operations.replace(*taken), 1.0)]
        assert acts == CLAMP, acts
        levels = torch.tensor(self.at.levels)
        return [(operations.clamp(delta, codes, self.vectors, self.cids, levels, amount * share), 1.0)]

    def _raised(self, delta: Tensor, share: Tensor, amount: float) -> Tensor:
        return operations.add(delta, self.direction_1D, amount * self.at.unit, share)

    def _ablated(self, delta: Tensor, share: Tensor) -> Tensor:
        return operations.ablate(delta, self._codes(delta), self.vectors, self.cids, share)

    def _codes(self, delta: Tensor) -> tuple[Tensor, Tensor]:
        values, latents = self.sae.encode(delta.reshape(-1, delta.shape[-1]).to(self.vectors))
        return values, latents
