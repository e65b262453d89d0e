"""Vectors of one site for training: every spatial position of every prompt in a range.

Batches are mixed across images inside a bounded buffer of whole shards, whose order is itself permuted: memory is
fixed, order is a function of (seed, epoch), and a reader that skips to batch b sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from storage.activations import ActivationStore
from storage.errors import StorageError
from storage.store_metadata import Site, site_key


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
        # A range that fits into one buffer is kept there, so that many epochs over few prompts decode it once.
        self._kept: dict[tuple[int, int], np.ndarray] | None = {} if stop - start <= self.buffer_prompts else None

    def chunks(self) -> Iterator[np.ndarray]:
        """float32 [n, d] in prompt order, a shard's worth at a time."""
        for first, last in self._blocks():
            yield self._read(first, last).astype(np.float32)

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled float32 [batch_size, d]; a last partial batch is dropped. ``skip`` starts at that batch.

        Shards that lie wholly before batch ``skip`` are not read, so a resumed run goes on at once.
        """
        rest = np.empty((0, self.d), np.float16)
        wanted, end = skip * batch_size, 0
        for blocks, order in self._buffers(seed, epoch):
            start, end = end, end + len(order)
            if end <= wanted:
                continue
            buffer = np.concatenate([self._read(first, last) for first, last in blocks])
            order = order[max(wanted - start, 0) :]
            taken = (batch_size - len(rest)) % batch_size  # completes the batch that the buffer before left open
            if taken > len(order):
                rest = np.concatenate([rest, buffer[order]])
                continue
            if taken:
                yield np.concatenate([rest, buffer[order[:taken]]]).astype(np.float32)
            whole = taken + (len(order) - taken) // batch_size * batch_size
            for at in range(taken, whole, batch_size):
                yield buffer[order[at : at + batch_size]].astype(np.float32)
            rest = buffer[order[whole:]]

    def _blocks(self) -> list[tuple[int, int]]:
        """Prompt ranges aligned to shards, clipped to [start, stop)."""
        size = self.store.shard_size
        edges = sorted({self.start, self.stop, *range(-(-self.start // size) * size, self.stop, size)})
        return list(zip(edges, edges[1:], strict=False))

    def _buffers(self, seed: int, epoch: int) -> Iterator[tuple[list[tuple[int, int]], np.ndarray]]:
        """(blocks to hold at once, order of their vectors), a function of (seed, epoch) alone; nothing is read."""
        rng = np.random.default_rng((seed, epoch))
        blocks = self._blocks()
        held: list[tuple[int, int]] = []
        for index in rng.permutation(len(blocks)):
            held.append(blocks[index])
            prompts = sum(last - first for first, last in held)
            if prompts >= self.buffer_prompts:
                yield held, rng.permutation(prompts * self.positions)
                held = []
        if held:
            yield held, rng.permutation(sum(last - first for first, last in held) * self.positions)

    def _read(self, first: int, last: int) -> np.ndarray:
        if self._kept is None:
            return self._read_checked(first, last)
        if (first, last) not in self._kept:
            self._kept[first, last] = self._read_checked(first, last)
        return self._kept[first, last]

    def _read_checked(self, first: int, last: int) -> np.ndarray:
        maps = self.store.read(self.site, first, last).reshape(last - first, -1)
        finite = np.isfinite(maps).all(1)
        if not finite.all():
            prompt = first + int(np.argmin(finite))
            shard = prompt // self.store.shard_size
            raise StorageError(
                f"the activations at {site_key(self.site)} are not finite for prompt {prompt} (shard {shard}): delete "
                f"done/collect/{shard:06d}.json and run `concepts collect` to record that shard again"
            )
        return maps.reshape(-1, self.d)
