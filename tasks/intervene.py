"""Intervening: one target in one window, all its prompts and regions, beside its controls, as one unit of work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concepts.effects import change_outside, region_mask, share_in_region, success_in_region
from concepts.interventions import contribution, edit_direction, global_edit, random_direction, spatial_edit
from concepts.settings import REGIONS
from diffusion.sampling import Edit, sample
from sae.io import load_sae
from sae.model import TopKSAE
from storage.tables import read_table
from tasks.collect import encode_png, images_of, prompts_of
from tasks.parts import publish
from tasks.study import Site, Study, backend_of, model_of, sae_folder, split_range, store_of

CONCEPTS, RANDOM, UNEDITED = "none", "random_direction", "unedited"


@dataclass(frozen=True)
class Unit:
    """One kind of edit (spatial or global) of one target in one window."""

    kind: str
    target: str
    window: str

    @property
    def name(self) -> str:
        """Name of the unit's completion record."""
        return f"{self.kind}-{self.target}-{self.window}"


@dataclass(frozen=True)
class Case:
    """One image to be made: a prompt and, for a spatial edit, the region asked for."""

    prompt_id: int
    caption: str
    seed: int
    region: str


def plan_units(study: Study) -> list[Unit]:
    """All units of the configuration, windows innermost."""
    settings = study.config.interventions
    return [
        Unit(kind, target, window)
        for kind, targets in (("spatial", settings.objects), ("global", settings.styles))
        for target in targets
        for window in settings.windows
    ]


def run_unit(study: Study, unit: Unit) -> dict[str, Any]:
    """Edit every case with the target's concepts and with a random direction; write ``interventions`` rows.

    Rows with control ``unedited`` score the untouched images: the chance level. A target that no concept carries is
    recorded with cid_count 0 and no edited rows.
    """
    cases = _cases(study, unit)
    site, k = _site(study, unit)
    sae = load_sae(sae_folder(study, site, k))
    cids = target_cids(study, site, k, unit.target)
    before = images_of(study, *split_range(study, "style"))
    rows = _rows(study, unit, cases, [before[c.prompt_id] for c in cases], before, UNEDITED, len(cids))
    if cids and cases:
        direction = edit_direction(sae.concept_vectors()[cids])
        random = random_direction(sae.d, study.config.seed + 1)
        for control, vector in ((CONCEPTS, direction), (RANDOM, random)):
            editor = Editor(study, unit, site, sae, cids, vector, control)
            rows += _rows(study, unit, cases, editor.run(cases), before, control, len(cids))
    publish(study, "intervene", unit.name, {"interventions": rows}, extra={"cids": cids, "cases": len(cases)})
    return {"unit": unit.name, "cids": len(cids), "rows": len(rows)}


def _site(study: Study, unit: Unit) -> tuple[Site, int]:
    settings = study.config.interventions
    return (settings.block, settings.windows[unit.window][2], "cond"), study.config.sae.k[0]


def target_cids(study: Study, site: Site, k: int, label: str) -> list[int]:
    """The concepts of highest IoU among those that carry the label by our rule; by the paper's if ours finds none."""
    block, t, conditioning = site
    filters = [("block", "==", block), ("t", "==", t), ("conditioning", "==", conditioning)]
    filters += [("k", "==", k), ("kind", "==", "trained"), ("label", "==", label)]
    rows = read_table(study.root, "concept_labels", filters=filters).to_pylist()
    for rule in ("assigned", "paper_assigned"):
        kept = sorted((r for r in rows if r[rule]), key=lambda r: (-r["iou"], r["cid"]))
        if kept:
            return [r["cid"] for r in kept[: study.config.interventions.concepts_per_target]]
    return []


def _cases(study: Study, unit: Unit) -> list[Case]:
    """Spatial: prompts that name the object, each in every quadrant. Global: prompts that do not name a style."""
    settings = study.config.interventions
    rows = prompts_of(study, *split_range(study, "style")).to_pylist()
    styles = set(settings.styles)
    spatial = unit.kind == "spatial"
    fits = [
        row
        for row in rows
        if (unit.target in row["caption"].split() if spatial else not styles & set(row["caption"].split()))
    ]
    regions = REGIONS if spatial else ("everywhere",)
    return [
        Case(row["prompt_id"], row["caption"], row["seed"], region)
        for row in fits[: settings.prompts_per_target]
        for region in regions
    ]


class Editor:
    """Samples cases with one edit: a target's concepts, or a random direction of the same norm."""

    def __init__(
        self, study: Study, unit: Unit, site: Site, sae: TopKSAE, cids: list[int], direction: Tensor, control: str
    ) -> None:
        self.study, self.unit, self.site, self.sae, self.control = study, unit, site, sae, control
        self.cids, self.direction = torch.tensor(cids), direction
        settings = study.config.interventions
        strength = settings.spatial_strength if unit.kind == "spatial" else settings.global_strength
        self.size = strength * rms_norm(study, site)

    def run(self, cases: list[Case]) -> list[np.ndarray]:
        """Edited images uint8 [H, W, 3], in the order of the cases."""
        sampling = self.study.config.sampling
        images: list[np.ndarray] = []
        for first in range(0, len(cases), sampling.batch_size):
            batch = cases[first : first + sampling.batch_size]
            captions, seeds = [c.caption for c in batch], [c.seed for c in batch]
            images += list(sample(model_of(self.study), captions, seeds, sampling, edits=[self._edit(batch)]).images)
        return images

    def _edit(self, batch: list[Case]) -> Edit:
        low, high, _ = self.study.config.interventions.windows[self.unit.window]
        module = self.study.config.sites.blocks[self.site[0]]
        height, width, _ = store_of(self.study).shape(self.site)
        if self.unit.kind == "global":
            return Edit(module, low, high, lambda delta, t: global_edit(delta, self.direction.to(delta), self.size))
        regions = torch.from_numpy(np.stack([region_mask(c.region, height, width) for c in batch]))
        return Edit(module, low, high, lambda delta, t: self._spatial(delta, regions))

    def _spatial(self, delta: Tensor, regions: Tensor) -> Tensor:
        """The control adds its direction but removes nothing: it has no concepts to remove."""
        removed = torch.zeros_like(delta)
        if self.control == CONCEPTS:
            flat = delta.reshape(-1, delta.shape[-1]).cpu()
            codes = self.sae.encode(flat)
            removed = contribution(*codes, self.sae.concept_vectors(), self.cids).reshape(delta.shape).to(delta)
        return spatial_edit(delta, self.direction.to(delta), removed, regions.to(delta.device), self.size)


def rms_norm(study: Study, site: Site) -> float:
    """Root mean square norm of the site's residual updates, from the first shard of the train split."""
    store = store_of(study)
    start, stop = split_range(study, "train")
    sample_ = store.read(site, start, min(stop, start + store.shard_size)).astype(np.float32)
    return float(np.sqrt((sample_**2).sum(-1).mean()))


def _rows(
    study: Study,
    unit: Unit,
    cases: list[Case],
    images: list[np.ndarray],
    before: dict[int, np.ndarray],
    control: str,
    cid_count: int,
) -> list[dict[str, Any]]:
    if not cases:
        return []
    judge = backend_of(study).judge
    originals = [before[c.prompt_id] for c in cases]
    settings = study.config.interventions
    spatial = unit.kind == "spatial"
    score = _spatial_scores if spatial else _global_scores
    outcomes = score(judge, unit.target, cases, images, originals)
    strength = settings.spatial_strength if spatial else settings.global_strength
    keep = settings.keep_images and control != UNEDITED
    return [
        {
            "prompt_id": case.prompt_id,
            "kind": unit.kind,
            "block": settings.block,
            "t": settings.windows[unit.window][2],
            "window": unit.window,
            "target": unit.target,
            "cid_count": cid_count,
            "region": case.region,
            "strength": 0.0 if control == UNEDITED else strength,
            "control": control,
            "seed": case.seed,
            "image": encode_png(image) if keep else None,
            **outcome,
        }
        for case, image, outcome in zip(cases, images, outcomes, strict=True)
    ]


def _spatial_scores(
    judge: Any, target: str, cases: list[Case], images: list[np.ndarray], originals: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success: the object's centre of mass is in the region. effect: rise of its share of mass there."""
    after, before = judge.object_map(images, target), judge.object_map(originals, target)
    outcomes = []
    for case, image, original, heat, heat_before in zip(cases, images, originals, after, before, strict=True):
        region = region_mask(case.region, *heat.shape)
        outcomes.append(
            {
                "success": success_in_region(heat, region),
                "effect": share_in_region(heat, region) - share_in_region(heat_before, region),
                "outside_change": change_outside(original, image, region_mask(case.region, *image.shape[:2])),
            }
        )
    return outcomes


def _global_scores(
    judge: Any, target: str, cases: list[Case], images: list[np.ndarray], originals: list[np.ndarray]
) -> list[dict[str, Any]]:
    """success: the judge finds the style more likely than not. effect: rise of its probability."""
    after, before = judge.style_score(images, target), judge.style_score(originals, target)
    return [
        {
            "success": bool(b >= 0.5),
            "effect": float(b - a),
            "outside_change": change_outside(original, image, None),
        }
        for original, image, a, b in zip(originals, images, before, after, strict=True)
    ]
