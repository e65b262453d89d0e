"""Overlap sums of one encoder's codes with the labelled cells of a study, one shard of images in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from concepts.codes import CodesOnDisk
from concepts.overlap import OverlapStats
from concepts.overlap_pass import LabelledCodes, count_overlaps
from concepts.properties import ColourSums
from study.at import AtSite
from study.reading import image_area


def overlap_sums(
    here: AtSite,
    codes: CodesOnDisk,
    act_max: np.ndarray,
    colours: ColourSums | None = None,
    shuffle: bool = False,
) -> OverlapStats:
    """Sums over the dictionary split; with ``colours`` also those of the colours below each concept.

    ``shuffle`` is the control of position, with every image's masks out of place.
    """
    config, (rows, columns) = here.study.config, here.grid
    cell_pixels = image_area(here.study) // (rows * columns)
    stats = OverlapStats(codes.n_concepts, here.grid, cell_pixels)
    runs = _labelled(here, codes, colours is not None)
    shuffle_seed = config.seed if shuffle else None
    return count_overlaps(stats, runs, act_max, config.labels.binarise_at, colours, shuffle_seed)


def _labelled(here: AtSite, codes: CodesOnDisk, with_colours: bool) -> Iterator[LabelledCodes]:
    for part in codes:
        start, stop = part.ids[0], part.ids[-1] + 1
        yield LabelledCodes(part, here.areas(start, stop), here.colours(start, stop) if with_colours else {})
