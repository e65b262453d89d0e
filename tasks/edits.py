"""What is edited, read from a study's tables, and the sampler that applies one edit to a batch of cases."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from concepts.cases import Case, carriers, global_cases, spatial_cases
from concepts.effects import region_mask
from concepts.interventions import ConceptEdit, rms_norm
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel
from diffusion.sampling import Beginnings, Edit, sample
from storage.prompts import hashed_seed
from storage.tables import read_table
from study.at import AtSite, Dictionary
from study.errors import StudyError
from study.models import backend_of, borrowed_model
from study.paths import split_range
from study.reading import images_by_id, prompts_of
from study.saes import TRAINED
from study.study import Study
from study.units import PlannedEdit
from vision.words import mentions


def cases_of(study: Study, kind: str, target: str, split: str, prompts: int) -> list[Case]:
    """The cases of a target among the first ``prompts`` fitting prompts of a split."""
    rows = prompts_of(study, *split_range(study, split)).to_pylist()
    if kind == "spatial":
        return spatial_cases(rows, target, prompts, mentions)
    return global_cases(rows, looks_of(study), prompts, mentions)


def looks_of(study: Study) -> tuple[str, ...]:
    """The configured styles, and every other look that the judge knows by name, if it is one that knows any."""
    known = getattr(backend_of(study).judge, "looks", ())
    return tuple(dict.fromkeys((*study.config.interventions.styles, *known)))


def originals_of(study: Study, cases: list[Case]) -> list[np.ndarray]:
    """The unedited image of each case; a prompt's image is read once, and only those are held."""
    known = images_by_id(study, sorted({case.prompt_id for case in cases}))
    return [known[case.prompt_id] for case in cases]


def dictionary_of(study: Study, edit: PlannedEdit) -> Dictionary:
    """The dictionary that serves an edit: of the edited block, at the time that stands for the window."""
    settings = study.config.interventions
    return study.at((settings.block_of(edit.kind), settings.windows[edit.window][2], "cond"), study.config.sae.k[0])


def target_cids(study: Study, edit: PlannedEdit) -> list[int]:
    """The concepts that an edit uses, best first; none where no concept carries the target."""
    filters = [*dictionary_of(study, edit).filters, ("kind", "==", TRAINED), ("label", "==", edit.target)]
    rows = read_table(study.root, "concept_labels", filters=filters).to_pylist()
    return carriers(rows, study.config.labels, study.config.interventions.concepts_per_target)


def unit_norm(here: AtSite) -> float:
    """The unit of strengths at a site: of its residual updates in the first shard of the train split."""
    _, maps = next(here.maps("train"))
    return rms_norm(maps)


def direction_seed(study: Study, edit: PlannedEdit, case: Case) -> int:
    """Of the random direction beside an edit: every case has its own, so that the control does not hang on one draw."""
    return hashed_seed(study.config.seed, edit.name, case.prompt_id, case.region)


class Editor:
    """Samples cases with one edit: a target's concepts or, as the control, random directions of the same norms.

    Editors that are given the same ``beginnings`` share what lies before the window, case by case.
    """

    def __init__(
        self,
        study: Study,
        planned: PlannedEdit,
        cids: list[int],
        strength: float,
        control: str,
        beginnings: Beginnings | None = None,
    ) -> None:
        self.study, self.planned, self.beginnings = study, planned, beginnings
        self.here = dictionary_of(study, planned)
        self.sae = self.here.sae()
        vectors = self.sae.concept_vectors()
        size = strength * unit_norm(self.here)
        self.edit = ConceptEdit(vectors, torch.tensor(cids, device=vectors.device), size, control)

    def run(self, cases: list[Case]) -> list[np.ndarray]:
        """Edited images uint8 [H, W, 3], in the order of the cases."""
        sampling = self.study.config.sampling
        images: list[np.ndarray] = []
        with borrowed_model(self.study) as model:
            for first in range(0, len(cases), sampling.batch_size):
                batch = cases[first : first + sampling.batch_size]
                images += list(self._sample(model, batch))
        return images

    def _sample(self, model: DiffusionModel, batch: list[Case]) -> np.ndarray:
        captions, seeds = [c.caption for c in batch], [c.seed for c in batch]
        try:
            edits, settings = [self._edit(batch)], self.study.config.sampling
            return sample(model, captions, seeds, settings, edits=edits, beginnings=self.beginnings).images
        except NotFiniteError as error:
            raise StudyError(f"prompt {batch[error.row].prompt_id}, edit {self.planned.name}: {error}") from error

    def _edit(self, batch: list[Case]) -> Edit:
        low, high, _ = self.study.config.interventions.windows[self.planned.window]
        module = self.study.config.sites.blocks[self.here.site.block]
        seeds = [direction_seed(self.study, self.planned, case) for case in batch]
        directions = torch.stack([self.edit.direction(seed) for seed in seeds])  # [B, D]
        if self.planned.kind == "global":
            return Edit(module, low, high, lambda delta, t: self.edit.everywhere(delta, directions))
        regions = torch.from_numpy(np.stack([region_mask(c.region, *self.here.grid) for c in batch]))
        return Edit(module, low, high, lambda delta, t: self._in_region(delta, directions, regions))

    def _in_region(self, delta: Tensor, directions: Tensor, regions: Tensor) -> Tensor:
        codes = self.sae.encode(delta.reshape(-1, delta.shape[-1]).to(self.sae.b_dec.device))
        return self.edit.in_region(delta, codes, directions, regions)
