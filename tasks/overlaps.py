"""Overlap sums of one encoder's codes with the labelled cells of a study, one shard of images in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from concepts.codes import SpooledCodes
from concepts.overlap import OverlapStats
from concepts.overlap_pass import LabelledCodes, count_overlaps
from concepts.properties import ColourSums
from study.paths import Site
from study.reading import cell_colours, image_area, label_areas
from study.store import store_of
from study.study import Study


def overlap_sums(
    study: Study,
    site: Site,
    codes: SpooledCodes,
    act_max: np.ndarray,
    colours: ColourSums | None = None,
    shuffle: bool = False,
) -> OverlapStats:
    """Sums over the dictionary split; with ``colours`` also those of the colours below each concept.

    ``shuffle`` is the control of position, with every image's masks out of place.
    """
    grid = store_of(study).shape(site)[:2]
    settings = study.config.labels
    stats = OverlapStats(codes.n_concepts, grid, image_area(study) // (grid[0] * grid[1]), settings.hit_iou)
    runs = _labelled(study, codes, grid, colours is not None)
    shuffle_seed = study.config.seed if shuffle else None
    return count_overlaps(stats, runs, act_max, settings.binarise_at, colours, shuffle_seed)


def _labelled(study: Study, codes: SpooledCodes, grid: tuple[int, int], with_colours: bool) -> Iterator[LabelledCodes]:
    for part in codes:
        start, stop = part.ids[0], part.ids[-1] + 1
        rgb = cell_colours(study, start, stop, grid) if with_colours else {}
        yield LabelledCodes(part, label_areas(study, start, stop, grid), rgb)
