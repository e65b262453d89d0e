"""Where vectors come from, their statistics from one streaming pass, and standardising by them."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from sae.errors import SAEError
from storage.atomic import write_atomic

T = TypeVar("T")
DOMINANT = 3.0  # a mean this many times the deviation is worth a word


class VectorSource(Protocol):
    """``n_vectors`` vectors of width ``d``, in order by ``chunks`` or shuffled by ``batches`` (float32 numpy)."""

    n_vectors: int
    d: int

    def chunks(self) -> Iterator[np.ndarray]:
        """All vectors once, [n, d] at a time."""

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[np.ndarray]:
        """Shuffled [batch_size, d], a last partial batch dropped, starting at batch ``skip``."""


class BatchSource(Protocol):
    """What a training run reads: standardised batches, float32 [batch_size, d], of so many sites together."""

    d: int
    sites: int

    def n_batches(self, batch_size: int) -> int:
        """Whole batches in one epoch."""

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[Tensor]:
        """One epoch's batches in an order that (seed, epoch) fixes, from batch ``skip`` on."""

    def digest(self) -> str:
        """A word that changes when the data do."""


@dataclass(frozen=True)
class Statistics:
    """Of all vectors of a site.

    ``mean`` float32 [D]; ``scale`` = 1 / RMS deviation per channel; ``gamma`` = |mean| / |deviation|; ``rms_norm`` root
    mean square of |x|; ``constant`` channels that never vary.
    """

    mean: Tensor
    scale: float
    gamma: float
    rms_norm: float
    constant: tuple[int, ...]
    n_vectors: int

    def cautions(self, where: str) -> list[str]:
        """Sentences for the log on what is unusual in the data; empty when nothing is."""
        sentences = []
        if self.gamma > DOMINANT:
            sentences.append(
                f"{where}: the mean vector is {self.gamma:.1f} times as long as the deviation from it; SAEs see "
                "centred vectors, and explained variance is of the deviation alone"
            )
        if self.constant:
            shown = ", ".join(map(str, self.constant[:8])) + (", ..." if len(self.constant) > 8 else "")
            sentences.append(f"{where}: {len(self.constant)} channels never vary ({shown}); no SAE can use them")
        return sentences


def measure(source: VectorSource) -> Statistics:
    """One streaming pass in float64. Raises ``SAEError`` on values that are not finite or do not vary."""
    total, square, count = np.zeros(source.d), np.zeros(source.d), 0
    lowest, highest = np.full(source.d, np.inf), np.full(source.d, -np.inf)
    for chunk in source.chunks():
        if not np.isfinite(chunk).all():
            raise SAEError("the training vectors hold a value that is not finite: run `concepts verify` on the study")
        wide = chunk.astype(np.float64)
        total += wide.sum(0)
        square += np.einsum("nd,nd->d", wide, wide)
        lowest, highest = np.minimum(lowest, chunk.min(0)), np.maximum(highest, chunk.max(0))
        count += len(chunk)
    if not count:
        raise SAEError("there are no training vectors: prompts.splits.train must be at least 1")
    mean = total / count
    variance = float((square / count - mean**2).clip(0)[highest > lowest].sum())
    if variance <= 0:
        raise SAEError("the training vectors do not vary: check sites.blocks and the model's weights")
    return Statistics(
        mean=torch.from_numpy(mean).float(),
        scale=float(np.sqrt(source.d / variance)),
        gamma=float(np.sqrt((mean**2).sum() / variance)),
        rms_norm=float(np.sqrt(square.sum() / count)),
        constant=tuple(int(c) for c in np.flatnonzero(highest <= lowest)),
        n_vectors=count,
    )


def save_statistics(path: Path, statistics: Statistics) -> None:
    """The mean as a tensor, the rest in the file's metadata, and a digest of both: the file vouches for itself.

    One entry of metadata, since safetensors writes several in an order of its own.
    """
    facts = {name: getattr(statistics, name) for name in ("scale", "gamma", "rms_norm", "constant", "n_vectors")}
    told = json.dumps({**facts, "sha256": _own_digest(facts, statistics.mean)})
    write_atomic(path, save({"mean": statistics.mean}, metadata={"statistics": told}))


def _own_digest(facts: dict[str, Any], mean: Tensor) -> str:
    return hashlib.sha256(json.dumps(facts).encode() + mean.float().contiguous().numpy().tobytes()).hexdigest()


def load_statistics(path: Path) -> Statistics | None:
    """What ``save_statistics`` wrote; None if the file is missing or damaged, since measuring again is cheap.

    A file without its digest was written by an earlier version, and is measured again, too.
    """
    try:
        with safe_open(path, "pt") as file:
            facts, mean = json.loads(file.metadata()["statistics"]), file.get_tensor("mean")
            if facts.pop("sha256") != _own_digest(facts, mean):
                return None
            return Statistics(mean=mean, **{**facts, "constant": tuple(facts["constant"])})
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


class Standardised:
    """(x - mean) * scale of a source's vectors: a ``BatchSource``."""

    sites = 1

    def __init__(self, source: VectorSource, statistics: Statistics) -> None:
        self.source, self.statistics, self.d = source, statistics, source.d

    def n_batches(self, batch_size: int) -> int:
        """Whole batches in one epoch."""
        return self.source.n_vectors // batch_size

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[Tensor]:
        """Standardised batches, float32 [batch_size, d]."""
        for batch in self.source.batches(batch_size, seed, epoch, skip):
            yield (torch.from_numpy(batch) - self.statistics.mean).mul_(self.statistics.scale)

    def digest(self) -> str:
        """The statistics themselves: other data would have others."""
        s = self.statistics
        return f"{s.n_vectors} vectors, scale {s.scale!r}, mean {float(s.mean.double().sum())!r}"


class EqualShares:
    """Several sources as one, an equal share of every batch from each: what one SAE over all times trains on."""

    def __init__(self, sources: list[Standardised]) -> None:
        self.sources, self.d, self.sites = sources, sources[0].d, len(sources)

    def _shares(self, batch_size: int) -> list[int]:
        count = len(self.sources)
        return [batch_size // count + (i < batch_size % count) for i in range(count)]

    def n_batches(self, batch_size: int) -> int:
        """Whole batches until the first source is used up."""
        shares = self._shares(batch_size)
        return min(s.n_batches(share) for s, share in zip(self.sources, shares, strict=True) if share)

    def batches(self, batch_size: int, seed: int, epoch: int, skip: int = 0) -> Iterator[Tensor]:
        """Batches whose first rows are of the first source, and so on; order within a batch does not matter."""
        readers = [
            source.batches(share, seed, epoch, skip)
            for source, share in zip(self.sources, self._shares(batch_size), strict=True)
            if share
        ]
        for parts in zip(*readers, strict=False):
            yield torch.cat(parts)

    def digest(self) -> str:
        """Of each source."""
        return "; ".join(source.digest() for source in self.sources)


def prefetched(items: Iterator[T], ahead: int = 2) -> Iterator[T]:
    """The same items, made by a thread of their own while the consumer works; at most ``ahead`` wait in memory.

    An exception in the source is raised here; a consumer that stops early stops the thread.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def put(entry: tuple[bool, T | BaseException | None]) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put((True, item))
                if stopped.is_set():
                    return
            put((False, None))
        except BaseException as error:
            put((False, error))

    threading.Thread(target=work, daemon=True, name="sae-loader").start()
    try:
        while True:
            more, item = waiting.get()
            if isinstance(item, BaseException):
                raise item
            if not more:
                return
            yield item  # type: ignore[misc]
    finally:
        stopped.set()
