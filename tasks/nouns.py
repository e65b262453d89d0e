"""What captions name and images show: the masks that layouts are predicted of, and the nouns that no segment shows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np

from concepts.hierarchy import load_hierarchy
from concepts.layout import Masks
from concepts.layout_rows import parent_groups, size_groups
from study.at import AtSite
from study.paths import split_runs
from study.reading import image_area, prompts_of_split, study_labels
from vision.words import mentioned


class Split:
    """The nouns of a split's captions. ``masks``: label -> where segments show it in images whose caption names it.

    A label that fills an image says nothing of a layout: such images are left out. ``undetected``: label -> prompt ids
    whose caption names it though no segment shows it. ``named``: prompt id -> all labels of its caption.
    """

    def __init__(self, here: AtSite, split: str, labels: list[str], most: int | None = None) -> None:
        """``most`` images of each label, the first, are taken."""
        self.named: dict[int, list[str]] = {}
        self.undetected: dict[str, list[int]] = {}
        self._whole = image_area(here.study)
        self._found: dict[str, tuple[list[int], list[np.ndarray]]] = {}
        captions = iter(prompts_of_split(here.study, split)["caption"].to_pylist())
        for first, last in split_runs(here.study, split):
            areas = here.areas(first, last)
            for prompt_id in range(first, last):
                named = mentioned(next(captions), labels)
                self._take(prompt_id, named, areas.get(prompt_id, {}), most)
        self.masks = {label: Masks(np.array(ids), np.stack(areas)) for label, (ids, areas) in self._found.items()}

    def _take(self, prompt_id: int, named: list[str], areas: Mapping[str, np.ndarray], most: int | None) -> None:
        self.named[prompt_id] = named
        for label in named:
            if label not in areas:
                self.undetected.setdefault(label, []).append(prompt_id)
            elif areas[label].sum() < self._whole:
                ids, kept = self._found.setdefault(label, ([], []))
                if most is None or len(ids) < most:
                    ids.append(prompt_id)
                    kept.append(areas[label])

    @cached_property
    def areas(self) -> dict[int, dict[str, np.ndarray]]:
        """Prompt id -> label -> its pixels in each cell, int64 [C]."""
        areas: dict[int, dict[str, np.ndarray]] = {}
        for label, masks in self.masks.items():
            for prompt_id, area_C in zip(masks.prompt_ids.tolist(), masks.areas_IC, strict=True):
                areas.setdefault(prompt_id, {})[label] = area_C
        return areas


class Nouns:
    """The labels whose layouts can be predicted at a site, those that enough images of both splits name and show."""

    def __init__(self, here: AtSite) -> None:
        self.study, settings = here.study, here.study.config.layout
        self.labels = study_labels(here.study)
        self.cell_pixels = image_area(here.study) // (here.grid[0] * here.grid[1])
        self.dictionary = Split(here, "dictionary", self.labels, settings.fit_images)
        self.layout = Split(here, "layout", self.labels)
        self.scored = [
            label
            for label in self.labels
            if all(
                label in split.masks and len(split.masks[label].prompt_ids) >= settings.min_images
                for split in self.splits
            )
        ]

    @property
    def splits(self) -> tuple[Split, Split]:
        """The one that is learnt from, and the one that is tested."""
        return self.dictionary, self.layout

    def groups(self) -> dict[str, list[str]]:
        """Name of a summary -> its labels: small and large ones, and those of one broader term of a hierarchy."""
        learnt, pixels = self.dictionary.masks, image_area(self.study)
        shares = {label: float(learnt[label].areas_IC.sum(1).mean()) / pixels for label in self.scored}
        groups = size_groups(shares, self.study.config.layout.large_share)
        if self.study.config.labels.hierarchy and self.scored:
            hierarchy = load_hierarchy(self.study.config.labels.hierarchy, self.labels)
            paths = {label: hierarchy.paths.get(label, ()) for label in self.scored}
            groups |= parent_groups({label: hierarchy.names[path[1]] for label, path in paths.items() if path[1:]})
        return groups
