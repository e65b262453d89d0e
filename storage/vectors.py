"""Vectors of one site for training: every spatial position of every prompt in a range.

Batches are mixed across images inside a bounded buffer of whole shards, whose order is itself permuted: memory is
fixed, order is a function of (seed, epoch), and a reader that skips to batch b sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from storage.activations import ActivationStore, Site


class VectorSource:
    """All positions of prompts [start, stop) at a site; ``n_vectors`` vectors of width ``d``.

    ``buffer_prompts`` bounds memory: that many prompts are held, in float16, while their positions are mixed.
    """

    def __init__(self, store: ActivationStore, site: Site, start: int, stop: int, buffer_prompts: int = 2048) -> None:
        self.store, self.site, self.start, self.stop = store, site, start, stop
        height, width, self.d = store.shape(site)
        self.positions = height * width
        self.n_vectors = (stop - start) * self.positions
        self.buffer_prompts = max(buffer_prompts, store.shard_size)

    def chunks(self) -> Iterator[np.ndarray]:
        """float32 [n, d] in prompt order, a shard's worth at a time."""
        for first, last in self._blocks():
            yield self._read(first, last).astype(np.float32)

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled float32 [batch_size, d]; a last partial batch is dropped. ``skip`` starts at that batch."""
        rest = np.empty((0, self.d), np.float16)
        number = 0
        for buffer, rng in self._buffers(seed, epoch):
            mixed = np.concatenate([rest, buffer[rng.permutation(len(buffer))]])
            full = len(mixed) // batch_size
            for i in range(full):
                if number >= skip:
                    yield mixed[i * batch_size : (i + 1) * batch_size].astype(np.float32)
                number += 1
            rest = mixed[full * batch_size :]

    def _blocks(self) -> list[tuple[int, int]]:
        """Prompt ranges aligned to shards, clipped to [start, stop)."""
        size = self.store.shard_size
        edges = sorted({self.start, self.stop, *range(-(-self.start // size) * size, self.stop, size)})
        return list(zip(edges, edges[1:], strict=False))

    def _buffers(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, np.random.Generator]]:
        rng = np.random.default_rng((seed, epoch))
        blocks = self._blocks()
        held: list[np.ndarray] = []
        prompts = 0
        for index in rng.permutation(len(blocks)):
            first, last = blocks[index]
            held.append(self._read(first, last))
            prompts += last - first
            if prompts >= self.buffer_prompts:
                yield np.concatenate(held), rng
                held, prompts = [], 0
        if held:
            yield np.concatenate(held), rng

    def _read(self, first: int, last: int) -> np.ndarray:
        return self.store.read(self.site, first, last).reshape(-1, self.d)
