"""Matching the concepts of neighbouring times of a block, by concept vectors and by where they fire."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from concepts.matching import CoActivation, cosines, firing, match_rows
from sae.model import SAE
from study.at import Dictionary
from study.codes import encode_maps
from study.publish import publish
from study.saes import SHARED, TRAINED
from study.study import Study
from study.units import match_unit


def match_times(study: Study, block: str, conditioning: str, k: int) -> dict[str, Any]:
    """Write ``concept_matches`` of one block: each time against the next, from noise to image."""
    times = sorted(study.config.sites.times, reverse=True)
    kinds = [TRAINED, SHARED] if study.config.sae.across_time else [TRAINED]
    rows: list[dict[str, Any]] = []
    for t_from, t_to in pairwise(times):
        for kind in kinds:
            first, second = (study.at((block, t, conditioning), k) for t in (t_from, t_to))
            matches = match_pair(first, second, kind)
            about = {"block": block, "conditioning": conditioning, "k": k, "kind": kind, "t_from": t_from, "t_to": t_to}
            rows += [{**about, **row} for row in matches]
    publish(study, "match", match_unit(block, conditioning, k), {"concept_matches": rows})
    return {"rows": len(rows)}


def match_pair(first: Dictionary, second: Dictionary, kind: str) -> list[dict[str, Any]]:
    """Matches from one site's concepts to another's, counted over the dictionary split."""
    saes = [here.sae(kind) for here in (first, second)]
    counts = CoActivation(saes[0].n, saes[1].n)
    most = first.study.config.sae.match_prompts
    cells = first.grid[0] * first.grid[1]
    for (_, before), (_, after) in zip(first.maps("dictionary", most), second.maps("dictionary", most), strict=True):
        counts.add(_firing(saes[0], before), _firing(saes[1], after), cells)
    vectors = [sae.concept_vectors().detach().cpu().numpy() for sae in saes]
    return match_rows(counts, cosines(vectors[0], vectors[1]), shared=kind == SHARED)


def _firing(sae: SAE, maps: np.ndarray) -> Any:
    values, latents = encode_maps(sae, maps)
    return firing(values, latents, sae.n)
