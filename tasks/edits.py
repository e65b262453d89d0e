"""What is edited: units, their cases, and the sampler that applies one edit to a batch of cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from concepts.cases import CONCEPTS, EVERYWHERE, RANDOM
from concepts.effects import region_mask
from concepts.interventions import contribution, edit_direction, global_edit, random_direction, spatial_edit
from concepts.settings import REGIONS
from diffusion.errors import NotFiniteError
from diffusion.model import DiffusionModel
from diffusion.sampling import Edit, sample
from storage.prompts import hashed_seed
from storage.tables import read_table
from tasks.collect import images_by_id, prompts_of
from tasks.errors import StudyError
from tasks.plans import Unit
from tasks.saes import sae_of
from tasks.study import Site, Study, backend_of, borrowed_model, split_range, store_of
from vision.words import mentions


@dataclass(frozen=True)
class Case:
    """One image to be made: a prompt and, for a spatial edit, the region asked for."""

    prompt_id: int
    caption: str
    seed: int
    region: str


def cases_of(study: Study, kind: str, target: str, split: str, prompts: int) -> list[Case]:
    """Spatial: prompts that name the object, each in every quadrant. Global: prompts that name no look at all.

    A prompt with another look than the target's would be asked for two at once.
    """
    looks = looks_of(study) if kind == "global" else ()
    fits = []
    for row in prompts_of(study, *split_range(study, split)).to_pylist():
        styled = any(mentions(row["caption"], look) for look in looks)
        if mentions(row["caption"], target) if kind == "spatial" else not styled:
            fits.append(row)
    regions = REGIONS if kind == "spatial" else (EVERYWHERE,)
    return [Case(row["prompt_id"], row["caption"], row["seed"], region) for row in fits[:prompts] for region in regions]


def looks_of(study: Study) -> tuple[str, ...]:
    """The configured styles, and every other look that the judge knows by name, if it is one that knows any."""
    known = getattr(backend_of(study).judge, "looks", ())
    return tuple(dict.fromkeys((*study.config.interventions.styles, *known)))


def originals_of(study: Study, cases: list[Case]) -> list[np.ndarray]:
    """The unedited image of each case; a prompt's image is read once, and only those are held."""
    known = images_by_id(study, sorted({case.prompt_id for case in cases}))
    return [known[case.prompt_id] for case in cases]


def site_of(study: Study, kind: str, window: str) -> tuple[Site, int]:
    """The SAE (site, k) that serves a kind of edit in a window."""
    settings = study.config.interventions
    return (settings.block_of(kind), settings.windows[window][2], "cond"), study.config.sae.k[0]


def target_cids(study: Study, unit: Unit) -> list[int]:
    """The concepts that an edit uses: those of the target's highest IoU among those that pass our rule's other bars.

    All on the selection half, like the rule itself. The bar on the IoU is left out: at t = 1 no concept is purely one
    object, and edits by the best still work.
    """
    (block, t, conditioning), k = site_of(study, unit.kind, unit.window)
    filters = [("block", "==", block), ("t", "==", t), ("conditioning", "==", conditioning)]
    filters += [("k", "==", k), ("kind", "==", "trained"), ("label", "==", unit.target)]
    rows = read_table(study.root, "concept_labels", filters=filters).to_pylist()
    bars = study.config.labels
    kept = [
        r
        for r in rows
        if r["n_co_selection"] >= bars.assign_images and (r["lift_selection"] or 0.0) >= bars.assign_lift
    ]
    kept.sort(key=lambda r: (-r["iou_selection"], r["cid"]))
    return [r["cid"] for r in kept[: study.config.interventions.concepts_per_target]]


def rms_norm(study: Study, site: Site) -> float:
    """Root mean square norm of the site's residual updates, from the first shard of the train split."""
    store = store_of(study)
    start, stop = split_range(study, "train")
    sample_ = store.read(site, start, min(stop, start + store.shard_size)).astype(np.float32)
    return float(np.sqrt((sample_**2).sum(-1).mean()))


class Editor:
    """Samples cases with one edit: a target's concepts or, as the control, random directions of the same norms.

    Every case of the control has a random direction of its own, so that the control does not hang on one draw.
    """

    def __init__(self, study: Study, unit: Unit, cids: list[int], strength: float, control: str) -> None:
        self.study, self.unit, self.control = study, unit, control
        self.site, k = site_of(study, unit.kind, unit.window)
        self.sae = sae_of(study, self.site, k)
        self.cids = torch.tensor(cids)
        self.size = strength * rms_norm(study, self.site)

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
            return sample(model, captions, seeds, self.study.config.sampling, edits=[self._edit(batch)]).images
        except NotFiniteError as error:
            raise StudyError(f"prompt {batch[error.row].prompt_id}, edit {self.unit.name}: {error}") from error

    def _edit(self, batch: list[Case]) -> Edit:
        low, high, _ = self.study.config.interventions.windows[self.unit.window]
        module = self.study.config.sites.blocks[self.site[0]]
        direction = torch.stack([self._direction(case) for case in batch])[:, None, None, :]  # [B, 1, 1, D]
        if self.unit.kind == "global":
            return Edit(module, low, high, lambda delta, t: global_edit(delta, direction.to(delta), self.size))
        height, width, _ = store_of(self.study).shape(self.site)
        regions = torch.from_numpy(np.stack([region_mask(c.region, height, width) for c in batch]))
        return Edit(module, low, high, lambda delta, t: self._spatial(delta, direction.to(delta), regions))

    def _direction(self, case: Case) -> Tensor:
        if self.control == CONCEPTS:
            return edit_direction(self.sae.concept_vectors()[self.cids])
        seed = hashed_seed(self.study.config.seed, self.unit.name, case.prompt_id, case.region)
        return random_direction(self.sae.d, seed)

    def _spatial(self, delta: Tensor, direction: Tensor, regions: Tensor) -> Tensor:
        """The control takes away as much as the concepts write outside the region, along its own direction."""
        codes = self.sae.encode(delta.reshape(-1, delta.shape[-1]).cpu())
        removed = contribution(*codes, self.sae.concept_vectors(), self.cids).reshape(delta.shape).to(delta)
        if self.control == RANDOM:
            removed = removed.norm(dim=-1, keepdim=True) * direction
        return spatial_edit(delta, direction, removed, regions.to(delta.device), self.size)
