"""The pass over codes that counts their overlaps with labelled cells, and the control of position.

Shape suffixes: C concepts, P cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from concepts.codes import Codes
from concepts.overlap import OverlapStats, where_on
from concepts.properties import ColourSums

SHUFFLED_POSITIONS = "shuffled_positions"


class LabelledCodes(NamedTuple):
    """Codes of a run of images, and by prompt id what the images show.

    ``areas``: label -> int64 [P], its pixels in each cell; an image without segments may be missing. ``rgb``: uint8
    [P, 3], each cell's mean colour, of every image where colours are wanted.
    """

    codes: Codes
    areas: Mapping[int, Mapping[str, np.ndarray]]
    rgb: Mapping[int, np.ndarray]


def count_overlaps(
    stats: OverlapStats,
    runs: Iterable[LabelledCodes],
    act_max_C: np.ndarray,
    cut: float,
    colours: ColourSums | None = None,
    shuffle_seed: int | None = None,
) -> OverlapStats:
    """Add every image to ``stats``, which is returned, and to ``colours`` if given, one run in memory at a time.

    ``act_max_C`` and ``cut`` as for ``where_on``. With a ``shuffle_seed`` the masks are those of ``out_of_place``.
    """
    for run in runs:
        for prompt_id, values_PK, latents_PK in zip(*run.codes, strict=True):
            on = where_on(values_PK, latents_PK, act_max_C, cut)
            areas = dict(run.areas.get(prompt_id, {}))
            if shuffle_seed is not None:
                areas = out_of_place(areas, stats.n_cells, shuffle_seed, prompt_id)
            stats.add(prompt_id, on, areas)
            if colours is not None:
                colours.add(*on, run.rgb[prompt_id])
    return stats


def out_of_place(areas: Mapping[str, np.ndarray], n_cells: int, seed: int, prompt_id: int) -> dict[str, np.ndarray]:
    """An image's masks with its cells permuted: label -> int64 [P].

    One permutation for all labels of an image, so that sizes, presence and what labels share stay and place is lost.
    A function of (seed, prompt_id), and so the same for every encoder and however the images are split into runs.
    """
    moved_P = np.random.default_rng((seed, prompt_id)).permutation(n_cells)
    return {label: area_P[moved_P] for label, area_P in areas.items()}
