"""Overlap sums of one encoder's codes with the labelled cells of a study, one shard of images in memory at a time."""

from __future__ import annotations

import numpy as np

from concepts.codes import SpooledCodes
from concepts.overlap import OverlapStats, where_on
from concepts.properties import ColourSums
from tasks.parts import read_shards
from tasks.segment import cell_colours, label_areas
from tasks.study import Site, Study, split_range, store_of

SHUFFLED_POSITIONS = "shuffled_positions"


def overlap_sums(
    study: Study,
    site: Site,
    codes: SpooledCodes,
    act_max: np.ndarray,
    colours: ColourSums | None = None,
    shuffle: bool = False,
) -> OverlapStats:
    """Sums over the dictionary split; with ``colours`` also those of the colours below each concept.

    ``shuffle`` is the control of position: every image's cells are permuted before its masks meet the codes, one
    permutation an image, so that sizes and presence stay and place is lost.
    """
    grid = store_of(study).shape(site)[:2]
    settings = study.config.labels
    stats = OverlapStats(codes.n_concepts, grid, image_area(study) // (grid[0] * grid[1]), settings.hit_iou)
    for part in codes:
        areas = label_areas(study, part.ids[0], part.ids[-1] + 1, grid)
        rgb = cell_colours(study, part.ids[0], part.ids[-1] + 1, grid) if colours is not None else {}
        for prompt_id, values_PK, latents_PK in zip(part.ids, part.values, part.latents, strict=True):
            on = where_on(values_PK, latents_PK, act_max, settings.binarise_at)
            of_image = areas.get(prompt_id, {})
            if shuffle:
                moved = np.random.default_rng((study.config.seed, prompt_id)).permutation(stats.n_cells)
                of_image = {label: area_P[moved] for label, area_P in of_image.items()}
            stats.add(prompt_id, on, of_image)
            if colours is not None:
                colours.add(*on, rgb[prompt_id])
    return stats


def image_area(study: Study) -> int:
    """Pixels of an image; all images of a study have one size."""
    start, _ = split_range(study, "dictionary")
    sizes = read_shards(study, "images", start, start + 1, ["width", "height"]).to_pylist()
    return int(sizes[0]["width"] * sizes[0]["height"])
