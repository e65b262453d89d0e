"""The sampler of edits: one recipe, at one block or at several, by a target's concepts or by one of the controls.

Each block is edited by its own site's concepts and in its own unit of strength. Where several times are given, every
step is served by the SAE of the nearest one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from concepts.cases import Case
from concepts.edit_controls import CONCEPTS, SWITCHED, WRONG_REGION, opposite
from concepts.effects import region_mask
from concepts.interventions import Codes, ConceptEdit
from concepts.scalings import RMS
from diffusion.edits import HALVES, Edit, Intervention, Switch, Watch
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel
from diffusion.sampling import Beginnings, Samples, sample
from diffusion.times import steps_in_window
from storage.prompts import hashed_seed
from storage.site import Site
from study.at import Dictionary
from study.errors import StudyError
from study.located import blocks_of
from study.models import borrowed_model
from study.study import Study
from study.units import PlannedEdit
from tasks.directions import Directions
from tasks.resemblance import words_of

Watching = Callable[[int], list[Watch]]  # asked at each batch, of so many images


@dataclass(frozen=True)
class Recipe:
    """What is done in a window (t_low, t_high]: ``times`` are those of the SAEs that serve it.

    ``strength`` is in units of each site's RMS norm or, under another ``scaling``, of what that says.
    """

    kind: str
    target: str
    blocks: tuple[str, ...]
    halves: tuple[str, ...]
    t_low: float
    t_high: float
    times: tuple[float, ...]
    strength: float
    control: str = CONCEPTS
    name: str = ""  # seeds the directions of controls
    scaling: str = RMS

    @classmethod
    def of(cls, study: Study, edit: PlannedEdit, strength: float, control: str = CONCEPTS) -> Recipe:
        """The configured one of a planned edit."""
        settings = study.config.interventions
        low, high, time = settings.windows[edit.window]
        halves = HALVES if settings.halves == "both" else ("cond",)
        blocks, scaling = blocks_of(study, edit.kind), settings.scaling_of(edit.kind)
        return cls(edit.kind, edit.target, blocks, halves, low, high, (time,), strength, control, edit.name, scaling)


def served(t_low: float, t_high: float, times: Sequence[float]) -> list[tuple[float, float, float]]:
    """(from, to, time): the parts of a window that each time is the nearest of; the later of two that are as near."""
    ordered = sorted(times)
    edges = [-np.inf, *((a + b) / 2 for a, b in pairwise(ordered)), np.inf]
    parts = [
        (max(t_low, low), min(t_high, high), time) for (low, high), time in zip(pairwise(edges), ordered, strict=True)
    ]
    return [(float(low), float(high), time) for low, high, time in parts if low < high or (low == high == 0.0)]


class Place:
    """A part of a recipe: one block, in one half, at the steps that one SAE serves."""

    def __init__(self, recipe: Recipe, directions: Directions, t_low: float, t_high: float) -> None:
        self.recipe, self.directions, self.t_low, self.t_high = recipe, directions, t_low, t_high

    @property
    def here(self) -> Dictionary:
        """The site and its dictionary."""
        return self.directions.here

    @property
    def cids(self) -> list[int]:
        """The concepts of the target, best first."""
        return self.directions.cids

    def edit(self, batch: list[Case], seeds: list[int]) -> Edit:
        """Of a batch of cases, each along its own direction and in its own region."""
        module = self.here.study.config.sites.blocks[self.here.site.block]
        directions = torch.stack([self.directions.of(self.recipe.control, seed) for seed in seeds])
        half = self.here.site.conditioning
        if self.recipe.kind == "global":
            return Edit(module, self.t_low, self.t_high, lambda d, t: self._everywhere(d, directions), half)
        names = [opposite(c.region) if self.recipe.control == WRONG_REGION else c.region for c in batch]
        regions = torch.from_numpy(np.stack([region_mask(name, *self.here.grid) for name in names]))
        return Edit(module, self.t_low, self.t_high, lambda d, t: self._in_region(d, directions, regions), half)

    @cached_property
    def concepts(self) -> ConceptEdit:
        """The arithmetic, of this place's concept vectors."""
        vectors = self.directions.sae.concept_vectors()
        cids = torch.tensor(self.cids, device=vectors.device)
        unit = self.directions.unit if self.recipe.scaling == RMS else 1.0
        return ConceptEdit(vectors, cids, self.recipe.strength * unit, self.recipe.control, self.recipe.scaling)

    def _everywhere(self, delta: Tensor, directions_BD: Tensor) -> Tensor:
        codes = None if self.recipe.scaling == RMS else self._codes(delta)
        return self.concepts.everywhere(delta, directions_BD, codes)

    def _in_region(self, delta: Tensor, directions_BD: Tensor, regions: Tensor) -> Tensor:
        return self.concepts.in_region(delta, self._codes(delta), directions_BD, regions)

    def _codes(self, delta: Tensor) -> Codes:
        sae = self.directions.sae
        return sae.encode(delta.reshape(-1, delta.shape[-1]).to(sae.b_dec.device))


class Editor:
    """Samples cases under one recipe."""

    def __init__(self, study: Study, recipe: Recipe) -> None:
        self.study, self.recipe, self.beginnings = study, recipe, Beginnings()
        self.known: dict[Site, Directions] = {}
        self.places = self._places()

    def again(self, recipe: Recipe) -> Editor:
        """One of the same kind and target under another recipe: what is known of sites and of beginnings is shared."""
        assert (recipe.kind, recipe.target) == (self.recipe.kind, self.recipe.target), "directions are of a target"
        other = copy.copy(self)
        other.recipe = recipe
        other.places = other._places()
        return other

    def _places(self) -> list[Place]:
        """Those where a concept carries the target."""
        return [place for place in places_of(self.study, self.recipe, self.known) if place.cids]

    @property
    def cid_count(self) -> int:
        """Concepts that carry the target, over all places; 0 where nothing can be edited."""
        return sum(len(place.cids) for place in self.places)

    def words(self) -> list[str]:
        """The labels in the lists of the edited concepts, over all places."""
        return sorted({w for place in self.places for w in words_of(place.here, self.recipe.target, place.cids)})

    def run(self, cases: list[Case], watching: Watching | None = None) -> list[np.ndarray]:
        """Edited images uint8 [H, W, 3], in the order of the cases."""
        images: list[np.ndarray] = []
        with borrowed_model(self.study) as model:
            for batch in self._batches(cases):
                images += list(self._sample(model, batch, self.interventions(batch), watching).images)
        return images

    def look(self, cases: list[Case], watching: Watching) -> None:
        """Sample the cases without any edit up to the end of the window, for what is seen on the way.

        Edits of the same cases then begin with what this run has left where their window begins.
        """
        steps = steps_in_window(self.recipe.t_low, self.recipe.t_high, self.study.config.sampling.steps)
        if steps:
            with borrowed_model(self.study) as model:
                for batch in self._batches(cases):
                    self._sample(model, batch, [], watching, stop=steps[-1] + 1)

    def _batches(self, cases: list[Case]) -> Iterator[list[Case]]:
        size = self.study.config.sampling.batch_size
        for first in range(0, len(cases), size):
            yield cases[first : first + size]

    def _sample(
        self,
        model: DiffusionModel,
        batch: list[Case],
        edits: Sequence[Intervention],
        watching: Watching | None,
        stop: int | None = None,
    ) -> Samples:
        captions, seeds = [c.caption for c in batch], [c.seed for c in batch]
        settings, watches = self.study.config.sampling, watching(len(batch)) if watching else []
        try:
            return sample(
                *(model, captions, seeds, settings),
                edits=edits,
                beginnings=self.beginnings,
                watches=watches,
                stop=stop,
            )
        except NotFiniteError as error:
            raise StudyError(f"prompt {batch[error.row].prompt_id}, edit {self.recipe.name}: {error}") from error

    def interventions(self, batch: list[Case]) -> list[Intervention]:
        """What is done to a batch: the caption switched, or an edit of every place."""
        if self.recipe.control == SWITCHED:
            asked = tuple(self.study.config.atlas.asked_for(c.caption, self.recipe.target) for c in batch)
            return [Switch(asked, self.recipe.t_low, self.recipe.t_high, tuple(range(len(batch))))]
        seeds = [direction_seed(self.study, self.recipe.name, case) for case in batch]
        return [place.edit(batch, seeds) for place in self.places]


def places_of(study: Study, recipe: Recipe, known: dict[Site, Directions]) -> list[Place]:
    """Every block, half and served time of a recipe; ``known`` holds the directions of sites, and is added to."""
    places = []
    for block in recipe.blocks:
        for half in recipe.halves:
            for low, high, time in served(recipe.t_low, recipe.t_high, recipe.times):
                site = Site(block, time, half)
                if site not in known:
                    known[site] = Directions(study.at(site, study.config.sae.k[0]), recipe.kind, recipe.target)
                places.append(Place(recipe, known[site], low, high))
    return places


def direction_seed(study: Study, name: str, case: Case) -> int:
    """Of the directions drawn beside an edit: every case has its own, so that a control does not hang on one draw."""
    return hashed_seed(study.config.seed, name, case.prompt_id, case.region)
