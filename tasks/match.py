"""Matching the concepts of neighbouring times of a block, by concept vectors and by where they fire.

Beside each partner stands the one that the SAE of another seed offers: what two SAEs agree in without a common start.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from concepts.matching import Candidates, CoActivation, cosines, firing, match_rows
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
    """Matches from one site's concepts to another's, and to those of its other seed; over the dictionary split."""
    sae, next_saes = first.sae(kind), [second.sae(kind)]
    if second.other_seed is not None:
        next_saes.append(second.sae(kind, second.other_seed))
    counts = [CoActivation(sae.n, other.n, with_shuffled=other is next_saes[0]) for other in next_saes]
    most, cells = first.study.config.sae.match_prompts, first.grid[0] * first.grid[1]
    for (_, before), (_, after) in zip(first.maps("dictionary", most), second.maps("dictionary", most), strict=True):
        fired = _firing(sae, before)
        for other, counted in zip(next_saes, counts, strict=True):
            counted.add(fired, _firing(other, after), cells)
    cosine = [cosines(_vectors(sae), _vectors(other)) for other in next_saes]
    next_time, *other_seed = (Candidates(*pair) for pair in zip(cosine, counts, strict=True))
    return match_rows(next_time, kind == SHARED, *other_seed)


def _vectors(sae: SAE) -> np.ndarray:
    return sae.concept_vectors().detach().cpu().numpy()


def _firing(sae: SAE, maps: np.ndarray) -> Any:
    values, latents = encode_maps(sae, maps)
    return firing(values, latents, sae.n)
