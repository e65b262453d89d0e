"""A bounded sample of a site's vectors: for what does not gain from all of them."""

from __future__ import annotations

import numpy as np

from storage.vectors import VectorSource, shard_blocks
from study.at import AtSite
from study.paths import split_ranges

SHARDS = 8  # that a sample is drawn from at the least


def drawn_vectors(here: AtSite, split: str, most: int, as_trained: bool = False) -> np.ndarray:
    """float32 [N, D] of a split at a site, N at most ``most``; the same for the same study and seed.

    ``as_trained``: of the split as it was when SAEs were refreshed last. Drawn evenly from as few shards as have them,
    but from ``SHARDS`` at the least, which lie evenly over the split: the shards in between are not read.
    Raises ``StorageError`` for a value that is not finite.
    """
    store, (height, width) = here.store, here.grid
    ranges = split_ranges(here.study, split, as_trained)
    blocks = [block for start, stop in ranges for block in shard_blocks(start, stop, store.shard_size)]
    count = min(len(blocks), max(SHARDS, -(-most // (store.shard_size * height * width))))
    rng = np.random.default_rng(here.study.config.seed)
    drawn, wanted = [], most
    places = np.linspace(0, len(blocks) - 1, count).round().astype(int)
    for left, (first, last) in zip(range(count, 0, -1), (blocks[at] for at in places), strict=True):
        (flat_ND,) = VectorSource(store, here.site, [(first, last)], buffer_bytes=0).chunks()
        drawn.append(flat_ND[rng.permutation(len(flat_ND))[: wanted // left]])
        wanted -= len(drawn[-1])
    return np.concatenate(drawn)
