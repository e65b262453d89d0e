"""Vectors of one site for training: every spatial position of every prompt in some ranges.

Batches are mixed across images inside a bounded buffer of whole shards, whose order is itself permuted: memory is
fixed, order is a function of (seed, epoch), and a reader that skips to batch b sees what it would have seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from storage.activations import ActivationStore, finite_prompts
from storage.errors import StorageError
from storage.site import AnySite, Site

Block = tuple[int, int]  # [first, last) of the prompts of a shard, or of what the range has of it


class VectorSource:
    """All positions of the prompts of ``ranges`` ([start, stop), ascending) at a site: ``n_vectors`` of width ``d``.

    A buffer of float16 is held while its positions are mixed: of ``buffer_bytes`` at most, but for one shard; or, where
    that is None, of ``buffer_prompts`` and up to a shard more, whatever they weigh.
    """

    def __init__(
        self,
        store: ActivationStore,
        site: AnySite,
        ranges: Sequence[Block],
        buffer_prompts: int = 2048,
        buffer_bytes: int | None = None,
    ) -> None:
        self.store, self.site = store, Site(*site)
        self._blocks = [block for start, stop in ranges for block in shard_blocks(start, stop, store.shard_size)]
        height, width, self.d = store.shape(site)
        self.positions = height * width
        self._prompts = _count(self._blocks)
        ends = accumulate(last - first for first, last in self._blocks)
        self._ends = dict(zip(self._blocks, ends, strict=True))  # of each block, where all of them lie end to end
        self.n_vectors = self._prompts * self.positions
        capacity = max(buffer_prompts, store.shard_size)
        self._enough = capacity  # prompts from which a buffer takes no further shard
        if buffer_bytes is not None:
            capacity = buffer_bytes // (2 * self.positions * self.d)
            self._enough = max(capacity - store.shard_size + 1, 1)
        # A range that fits into one buffer is kept there, so that many epochs over few prompts decode it once.
        self._fits = self._prompts <= capacity
        self._kept: Tensor | None = None

    def chunks(self) -> Iterator[np.ndarray]:
        """float32 [n, d] in prompt order, a shard's worth at a time."""
        for block in self._blocks:
            part = self._whole()[self._at(block)] if self._fits else torch.from_numpy(self._read(*block))
            yield part.float().numpy()

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled float32 [batch_size, d]; a last partial batch is dropped. ``skip`` starts at that batch.

        Shards that lie wholly before batch ``skip`` are not read, so a resumed run goes on at once.
        """
        rest = torch.empty((0, self.d), dtype=torch.float16)
        scratch = None if self._fits else self._empty(min(self._enough - 1 + self.store.shard_size, self._prompts))
        wanted, end = skip * batch_size, 0
        for blocks, order in self._buffers(seed, epoch):
            start, end = end, end + len(order)
            if end <= wanted:
                continue
            order = order[max(wanted - start, 0) :]
            if scratch is None:
                buffer, order = self._whole(), self._places(blocks)[order]
            else:
                buffer = self._filled(blocks, scratch)
            rows = torch.from_numpy(order)
            taken = (batch_size - len(rest)) % batch_size  # completes the batch that the buffer before left open
            if taken > len(rows):
                rest = torch.cat([rest, buffer[rows]])
                continue
            if taken:
                yield torch.cat([rest, buffer[rows[:taken]]]).float().numpy()
            whole = taken + (len(rows) - taken) // batch_size * batch_size
            for at in range(taken, whole, batch_size):
                yield buffer.index_select(0, rows[at : at + batch_size]).float().numpy()
            rest = buffer[rows[whole:]]

    def _at(self, block: Block) -> slice:
        """Where the vectors of a block lie among all."""
        first, last = block
        end = self._ends[block] * self.positions
        return slice(end - (last - first) * self.positions, end)

    def _buffers(self, seed: int, epoch: int) -> Iterator[tuple[list[Block], np.ndarray]]:
        """(blocks to hold at once, order of their vectors), a function of (seed, epoch) alone; nothing is read."""
        rng = np.random.default_rng((seed, epoch))
        blocks = self._blocks
        held: list[Block] = []
        for index in rng.permutation(len(blocks)):
            held.append(blocks[index])
            prompts = _count(held)
            if prompts >= self._enough and not self._fits:
                yield held, rng.permutation(prompts * self.positions)
                held = []
        if held:
            yield held, rng.permutation(_count(held) * self.positions)

    def _places(self, blocks: list[Block]) -> np.ndarray:
        """Where the vectors of blocks, laid end to end, lie among all: int64, one for each vector."""
        return np.concatenate([np.arange(at.start, at.stop) for at in map(self._at, blocks)])

    def _whole(self) -> Tensor:
        if self._kept is None:
            self._kept = self._filled(self._blocks, self._empty(self._prompts))
        return self._kept

    def _empty(self, prompts: int) -> Tensor:
        return torch.empty((prompts * self.positions, self.d), dtype=torch.float16)

    def _filled(self, blocks: list[Block], buffer: Tensor) -> Tensor:
        """The buffer, its first rows the vectors of the blocks: no second copy of them is ever held."""
        end = 0
        for block in blocks:
            part = torch.from_numpy(self._read(*block))
            start, end = end, end + len(part)
            buffer[start:end] = part
        return buffer

    def _read(self, first: int, last: int) -> np.ndarray:
        """float16 [n, d] of the prompts of one block."""
        maps = self.store.read(self.site, first, last)
        finite = finite_prompts(maps)
        if not finite.all():
            prompt = first + int(np.argmin(finite))
            shard = prompt // self.store.shard_size
            raise StorageError(
                f"the activations at {self.site.path} are not finite for prompt {prompt} (shard {shard}): run "
                f"`concepts repair` on the study with --unit collect/{shard:06d}, then run it again"
            )
        return maps.reshape(-1, self.d)


def shard_blocks(start: int, stop: int, shard_size: int) -> list[Block]:
    """What each shard has of the prompts [start, stop), in order."""
    edges = sorted({start, stop, *range(-(-start // shard_size) * shard_size, stop, shard_size)})
    return list(pairwise(edges))


def _count(blocks: list[Block]) -> int:
    return sum(last - first for first, last in blocks)
