"""Matching the concepts of neighbouring times of a block, by concept vectors and by where they fire."""

from __future__ import annotations

from typing import Any

import numpy as np

from concepts.matching import CoActivation, cosines, firing, match_rows
from sae.model import SAE
from study.codes import encode_maps
from study.paths import Site, split_range
from study.publish import publish
from study.saes import SHARED, TRAINED, sae_of
from study.store import store_of
from study.study import Study
from study.units import match_unit


def match_times(study: Study, block: str, conditioning: str, k: int) -> dict[str, Any]:
    """Write ``concept_matches`` of one block: each time against the next, from noise to image."""
    times = sorted(study.config.sites.times, reverse=True)
    kinds = [TRAINED, SHARED] if study.config.sae.across_time else [TRAINED]
    rows: list[dict[str, Any]] = []
    for t_from, t_to in zip(times, times[1:], strict=False):
        for kind in kinds:
            pair = [(block, t, conditioning) for t in (t_from, t_to)]
            found = match_pair(study, pair[0], pair[1], k, kind)
            about = {"block": block, "conditioning": conditioning, "k": k, "kind": kind, "t_from": t_from, "t_to": t_to}
            rows += [{**about, **row} for row in found]
    publish(study, "match", match_unit(block, conditioning, k), {"concept_matches": rows})
    return {"rows": len(rows)}


def match_pair(study: Study, first: Site, second: Site, k: int, kind: str) -> list[dict[str, Any]]:
    """Matches from one site's concepts to another's, counted over the dictionary split."""
    saes = [sae_of(study, site, k, kind) for site in (first, second)]
    counts = CoActivation(saes[0].n, saes[1].n)
    store = store_of(study)
    start, stop = split_range(study, "dictionary")
    stop = min(stop, start + study.config.sae.match_prompts)
    cells = int(np.prod(store.shape(first)[:2]))
    for low in range(start, stop, store.shard_size):
        high = min(low + store.shard_size, stop)
        fired = [_firing(sae, store.read(site, low, high)) for sae, site in zip(saes, (first, second), strict=True)]
        counts.add(fired[0], fired[1], cells)
    vectors = [sae.concept_vectors().detach().numpy() for sae in saes]
    return match_rows(counts, cosines(vectors[0], vectors[1]), shared=kind == SHARED)


def _firing(sae: SAE, maps: np.ndarray) -> Any:
    values, latents = encode_maps(sae, maps)
    return firing(values, latents, sae.n)
