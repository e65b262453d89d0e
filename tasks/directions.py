"""The unit direction of an edit at one site: a target's concepts', or that of a control of the same norm."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from concepts.cases import all_carriers, carriers
from concepts.edit_controls import (
    CONCEPTS,
    MEAN_DIFFERENCE,
    NEURONS,
    RANDOM,
    RANDOM_CONCEPTS,
    UNRELATED,
    UNTRAINED,
    WRONG_REGION,
)
from concepts.interventions import edit_direction, random_direction
from concepts.matched import matched_concepts
from concepts.supervised import MeanDifference
from sae.model import SAE
from sae.source import load_statistics
from storage.tables import read_table
from study.at import AtSite, Dictionary
from study.config import StudyConfig
from study.errors import StudyError
from study.reading import image_area
from study.saes import TRAINED
from tasks.train import STATISTICS
from tasks.transfer import transferred


def target_cids(here: Dictionary, target: str, kind: str = TRAINED) -> list[int]:
    """The concepts, of the SAE or of a control, that an edit uses, best first; none where none carries the target.

    Those of a style may be carried over from another time, where the settings say so (``tasks/transfer.py``).
    """
    settings = here.study.config.interventions
    if kind == TRAINED and target in settings.styles and settings.transfer_from is not None:
        return transferred(here, target, settings.transfer_from, own_cids)
    return own_cids(here, target, kind)


def own_cids(here: Dictionary, target: str, kind: str = TRAINED) -> list[int]:
    """The concepts of a site that carry the target there, best first."""
    filters = [*here.filters, ("kind", "==", kind), ("label", "==", target)]
    rows = read_table(here.study.root, "concept_labels", filters=filters).to_pylist()
    return carrying(here.study.config, target, rows)


def carrying(config: StudyConfig, target: str, rows: list[dict[str, Any]]) -> list[int]:
    """Of the target's rows of ``concept_labels`` at one site, the concepts that the settings choose, best first."""
    if config.interventions.carriers == "all" and target not in config.interventions.styles:
        return all_carriers(rows)
    return carriers(rows, config.labels, config.interventions.concepts_per_target)


def unit_norm(here: AtSite) -> float:
    """The unit of strengths at a site: RMS norm of its residual updates in the train split, kept beside its SAEs.

    Raises ``StudyError`` where the file that has it is gone or damaged.
    """
    statistics = load_statistics(here.folder / STATISTICS)
    if statistics is None:
        raise StudyError(f"{here.folder / STATISTICS} is missing or damaged: run `concepts repair {here.study.root}`")
    return statistics.rms_norm


class Directions:
    """Unit vectors [D] at a site, by control and by the seed of a case."""

    def __init__(self, here: Dictionary, kind: str, target: str) -> None:
        self.here, self.kind, self.target = here, kind, target
        self._fixed: dict[str, Tensor] = {}

    def of(self, control: str, seed: int) -> Tensor:
        """The direction of a case whose own draws come of ``seed``."""
        if control == RANDOM:
            return random_direction(self.here.channels, seed)
        if control == RANDOM_CONCEPTS:
            return self._concepts(matched_concepts(self.cids, self._densities, self._labelled, seed))
        if control not in self._fixed:
            self._fixed[control] = self._same_for_all(control)
        return self._fixed[control]

    @cached_property
    def sae(self) -> SAE:
        """The site's dictionary."""
        return self.here.sae()

    @cached_property
    def unit(self) -> float:
        """The unit of strengths."""
        return unit_norm(self.here)

    @cached_property
    def cids(self) -> list[int]:
        """The concepts of the target."""
        return target_cids(self.here, self.target)

    def _same_for_all(self, control: str) -> Tensor:
        if control in (CONCEPTS, WRONG_REGION):
            return self._concepts(self.cids)
        if control == UNRELATED:
            return self._concepts(target_cids(self.here, self._other_target()))
        if control == MEAN_DIFFERENCE:
            return self._mean_difference()
        if control == UNTRAINED:
            return edit_direction(self.here.sae(UNTRAINED).concept_vectors()[self._of_control(UNTRAINED)])
        if control == NEURONS:
            return self._neurons(self._of_control(NEURONS))
        raise StudyError(f"interventions.controls: no control {control!r}")

    def _concepts(self, cids: list[int]) -> Tensor:
        with torch.no_grad():
            return edit_direction(self.sae.concept_vectors()[cids])

    def _of_control(self, kind: str) -> list[int]:
        cids = target_cids(self.here, self.target, kind)
        if not cids:
            raise StudyError(
                f"interventions.controls: no feature of {kind!r} carries {self.target!r} at {self.here.site.path}: "
                "leave that control out"
            )
        return cids

    def _neurons(self, features: list[int]) -> Tensor:
        """Feature c is channel c above its mean, c + D below."""
        width = self.here.channels
        signed = torch.zeros(len(features), width)
        for row, feature in enumerate(features):
            signed[row, feature % width] = 1.0 if feature < width else -1.0
        return edit_direction(signed)

    def _other_target(self) -> str:
        """The target of the same kind that comes next in the configuration."""
        settings = self.here.study.config.interventions
        targets = settings.objects if self.kind == "spatial" else settings.styles
        others = [t for t in (*targets, *targets) if t != self.target]
        carried = [t for t in others if target_cids(self.here, t)]
        if not carried:
            raise StudyError(
                f"interventions.controls: 'unrelated_concept' needs a second {self.kind} target that concepts carry at "
                f"{self.here.site.path}: add one, or leave that control out"
            )
        start = targets.index(self.target) if self.target in targets else 0
        after = [t for t in (*targets[start:], *targets[:start]) if t in carried]
        return after[0]

    @cached_property
    def _densities(self) -> np.ndarray:
        rows = read_table(self.here.study.root, "concepts", filters=self.here.filters).to_pylist()
        densities = np.zeros(self.sae.n)
        for row in rows:
            densities[row["cid"]] = row["density"] if row["alive"] else 0.0
        return densities

    @cached_property
    def _labelled(self) -> set[int]:
        """Concepts that may not stand for chance: those that carry the target, however weakly."""
        filters = [*self.here.filters, ("kind", "==", TRAINED), ("label", "==", self.target)]
        rows = read_table(self.here.study.root, "concept_labels", filters=filters).to_pylist()
        most = len(rows)
        return {*self.cids, *carriers(rows, self.here.study.config.labels, most)}

    def _mean_difference(self) -> Tensor:
        """Mean update of cells that the label covers by half, less that of the others, on the dictionary split."""
        means = MeanDifference(self.here.channels)
        areas = self.here.areas_of_split("dictionary")
        rows, columns = self.here.grid
        cell_pixels = image_area(self.here.study) / (rows * columns)
        for ids, maps in self.here.maps("dictionary"):
            means.add(maps, [areas.get(i, {}).get(self.target) for i in ids], cell_pixels)
        return torch.from_numpy(means.direction(self.target)).float()
