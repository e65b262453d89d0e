"""A causal score for every labelled concept of the sites that edits are made at: ``concept_causes``.

Each concept is added at every position in a window, one at a time, at the strength of the kind's edits, to the first
prompts of the temporal atlas. What counts is its own label: the mean of the judge's map of it, or the
probability of the look. Beside it stand random directions of the same norm, on the same prompts and seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concepts.causes import cause_rows
from concepts.interventions import edit_direction, random_direction
from diffusion.edits import Edit
from diffusion.model import DiffusionModel
from diffusion.sampling import Beginnings, sample
from storage.prompts import hashed_seed
from storage.tables import read_table
from study.at import Dictionary
from study.located import blocks_of
from study.models import backend_of, borrowed_model
from study.publish import publish
from study.saes import TRAINED
from study.study import Study
from tasks.directions import unit_norm
from tasks.edits import looks_of, originals_of
from tasks.temporal import best_calibrated, fitting_cases


def run_causes(study: Study, kind: str, window: str) -> dict[str, Any]:
    """Score the labelled concepts of the site that serves a window; write ``concept_causes`` rows."""
    rows: list[dict[str, Any]] = []
    for block in blocks_of(study, kind):
        time = study.config.interventions.windows[window][2]
        here = study.at((block, time, "cond"), study.config.sae.k[0])
        labels = labelled_concepts(here, kind)
        if labels:
            with borrowed_model(study) as model:
                scored = Scorer(here, model, kind, window).rows(labels)
            rows += [{**here.columns, "kind": kind, "window": window, **row} for row in scored]
    publish(study, "causes", f"{kind}-{window}", {"concept_causes": rows})
    return {"unit": f"{kind}-{window}", "rows": len(rows)}


def labelled_concepts(here: Dictionary, kind: str) -> dict[int, str]:
    """CID -> label of those that carry one: for global edits the looks, for spatial ones all else."""
    filters = [*here.filters, ("kind", "==", TRAINED), ("assigned", "==", True)]
    rows = read_table(here.study.root, "concept_labels", ["cid", "label", "iou_selection"], filters).to_pylist()
    looks, best = looks_of(here.study), dict[int, tuple[float, str]]()
    for row in rows:
        if (row["label"] in looks) == (kind == "global"):
            best[row["cid"]] = max(best.get(row["cid"], (-1.0, "")), (row["iou_selection"], row["label"]))
    return {cid: label for cid, (_, label) in sorted(best.items())}


def _added(added: Tensor, delta: Tensor, t: float) -> Tensor:
    return delta + added.to(delta)


class Scorer:
    """Samples the atlas's first prompts under one concept or random direction at a time."""

    def __init__(self, here: Dictionary, model: DiffusionModel, kind: str, window: str) -> None:
        self.here, self.model, self.study, self.kind = here, model, here.study, kind
        self.low, self.high, _ = self.study.config.interventions.windows[window]
        self.size = best_calibrated(self.study, kind) * unit_norm(here)
        fitting = islice(fitting_cases(self.study, "global"), self.study.config.atlas.cause_prompts)
        self.cases = [case for _, case in fitting]
        self.name = f"causes-{kind}-{window}-{here.site.path}"
        self.beginnings = Beginnings()

    def rows(self, labels: dict[int, str]) -> list[dict[str, Any]]:
        """Of every concept, beside the random directions."""
        if not self.cases:
            return []
        shown = dict.fromkeys(labels.values())
        before = originals_of(self.study, self.cases)
        was = {label: self._seen(before, label) for label in shown}
        vectors = self.here.sae().concept_vectors().detach()
        effects = {}
        for cid, label in labels.items():
            direction = edit_direction(vectors[[cid]]).expand(len(self.cases), -1)
            effects[cid] = self._seen(self._sampled(direction), label) - was[label]
        random: dict[str, list[np.ndarray]] = {label: [] for label in shown}
        for directions in self._random():
            images = self._sampled(directions)
            for label in shown:
                random[label].append(self._seen(images, label) - was[label])
        return cause_rows(effects, labels, {label: np.stack(drawn) for label, drawn in random.items()})

    def _random(self) -> Iterator[Tensor]:
        """Directions [P, D], each prompt's own, as often as the settings say."""
        for draw in range(self.study.config.atlas.cause_directions):
            seeds = [hashed_seed(self.study.config.seed, self.name, draw, case.prompt_id) for case in self.cases]
            yield torch.stack([random_direction(self.here.channels, seed) for seed in seeds])

    def _sampled(self, directions_PD: Tensor) -> list[np.ndarray]:
        settings, images = self.study.config.sampling, list[np.ndarray]()
        module = self.study.config.sites.blocks[self.here.site.block]
        for first in range(0, len(self.cases), settings.batch_size):
            batch = self.cases[first : first + settings.batch_size]
            added = self.size * directions_PD[first : first + len(batch), None, None, :]
            edit = Edit(module, self.low, self.high, partial(_added, added))
            captions, seeds = [case.caption for case in batch], [case.seed for case in batch]
            images += list(
                sample(self.model, captions, seeds, settings, edits=[edit], beginnings=self.beginnings).images
            )
        return images

    def _seen(self, images: list[np.ndarray], label: str) -> np.ndarray:
        """float64 [P]: the look's probability, or the mean of the label's map."""
        judge = backend_of(self.study).judge
        told = judge.style_score(images, label) if self.kind == "global" else judge.object_map(images, label)
        return np.asarray(told, float).reshape(len(images), -1).mean(1)
