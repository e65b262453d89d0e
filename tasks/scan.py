"""Codes of a split, image by image, and what one pass over them tells about every concept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from sae.model import SAE
from tasks.study import Site, Study, split_range, store_of


def image_codes(study: Study, site: Site, sae: SAE, split: str) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
    """Yield (prompt ids, values float32 [n, cells, k], indices int64 [n, cells, k]), a shard's worth at a time."""
    store = store_of(study)
    start, stop = split_range(study, split)
    for first in range(start, stop, store.shard_size):
        last = min(first + store.shard_size, stop)
        values, indices = encode_maps(sae, store.read(site, first, last))
        yield list(range(first, last)), values, indices


def encode_maps(sae: SAE, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes of residual updates [n, h, w, C]: values and indices [n, h*w, k]."""
    n, height, width, channels = maps.shape
    with torch.no_grad():
        x = torch.from_numpy(maps.astype(np.float32)).reshape(-1, channels)
        values, indices = sae.encode(x)
    shape = (n, height * width, values.shape[-1])
    return values.reshape(shape).numpy(), indices.reshape(shape).numpy()


def dense_maps(values: np.ndarray, indices: np.ndarray, n_concepts: int) -> np.ndarray:
    """Activation maps float32 [n_concepts, cells] of one image's codes [cells, k]."""
    maps = np.zeros((n_concepts, values.shape[0]), np.float32)
    maps[indices, np.arange(values.shape[0])[:, None]] = values
    return maps


class ConceptScan:
    """Streaming statistics of every concept over a split. Memory does not grow with the number of images.

    ``add_maxima`` over all images first, then ``add_images`` over all images again: example bins are fractions
    of a concept's maximum, which only the first pass knows.
    """

    def __init__(self, n_concepts: int, grid: tuple[int, int], per_bin: int, bins: int) -> None:
        self.n, self.grid, self.per_bin, self.bins = n_concepts, grid, per_bin, bins
        self.cells = grid[0] * grid[1]
        self.act_max = np.zeros(n_concepts, np.float32)
        self._sum = np.zeros(n_concepts)
        self._count = np.zeros(n_concepts, np.int64)
        self._images_on = np.zeros(n_concepts, np.int64)
        self._images = 0
        self._map_sum = np.zeros((n_concepts, self.cells))
        self._map_square = np.zeros((n_concepts, self.cells))
        self._top_value = np.full((n_concepts, bins, per_bin), -np.inf, np.float32)
        self._top_id = np.full((n_concepts, bins, per_bin), -1, np.int64)
        self._top_map: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def add_maxima(self, values: np.ndarray, indices: np.ndarray) -> None:
        """First pass: values and indices [n, cells, k]."""
        np.maximum.at(self.act_max, indices.ravel(), values.ravel())

    def add_images(self, ids: list[int], values: np.ndarray, indices: np.ndarray) -> None:
        """Second pass over the same images."""
        for row, prompt_id in enumerate(ids):
            maps = dense_maps(values[row], indices[row], self.n)
            self._images += 1
            self._sum += maps.sum(1)
            self._count += (maps > 0).sum(1)
            self._images_on += (maps > 0).any(1)
            scaled = maps / np.maximum(self.act_max, 1e-12)[:, None]
            self._map_sum += scaled
            self._map_square += scaled**2
            self._offer(prompt_id, maps)

    def _offer(self, prompt_id: int, maps: np.ndarray) -> None:
        """Put the image among the examples of each concept that it excites enough."""
        peak = maps.max(1)
        fraction = peak / np.maximum(self.act_max, 1e-12)
        bin_of = np.clip(((1.0 - fraction) * self.bins).astype(int), 0, self.bins - 1)
        worst = self._top_value[np.arange(self.n), bin_of].min(1)
        for cid in np.flatnonzero((peak > 0) & (peak > worst)):
            self._insert(int(cid), int(bin_of[cid]), prompt_id, maps[cid])

    def _insert(self, cid: int, bin_: int, prompt_id: int, concept_map: np.ndarray) -> None:
        values, ids = self._top_value[cid, bin_], self._top_id[cid, bin_]
        slot = int(values.argmin())
        self._top_map.pop((cid, int(ids[slot])), None)
        values[slot], ids[slot] = concept_map.max(), prompt_id
        self._top_map[cid, prompt_id] = np.flatnonzero(concept_map), concept_map[concept_map > 0]

    def concept_row(self, cid: int) -> dict[str, Any]:
        """The columns of ``concepts`` that come from the scan."""
        positions = self._images * self.cells
        alive = bool(self._count[cid] > 0)
        mean_map = self._map_sum[cid] / max(self._images, 1)
        variance = self._map_square[cid] / max(self._images, 1) - mean_map**2
        return {
            "cid": cid,
            "alive": alive,
            "density": float(self._count[cid] / max(positions, 1)),
            "act_mean": float(self._sum[cid] / max(self._count[cid], 1)),
            "act_max": float(self.act_max[cid]),
            "n_images": int(self._images_on[cid]),
            # Smallest over-image variance of the map marks a context-free concept (paper, section 3).
            "context_free_score": float(variance.mean()) if alive else None,
        }

    def example_rows(self) -> list[dict[str, Any]]:
        """Rows of ``concept_examples``, strongest first within each bin, ties to the smaller prompt id."""
        rows = []
        for cid in range(self.n):
            for bin_ in range(self.bins):
                rows += self._bin_rows(cid, bin_)
        return rows

    def _bin_rows(self, cid: int, bin_: int) -> list[dict[str, Any]]:
        values, ids = self._top_value[cid, bin_], self._top_id[cid, bin_]
        kept = [i for i in np.lexsort((ids, -values)) if ids[i] >= 0]
        rows = []
        for rank, slot in enumerate(kept):
            cells, strengths = self._top_map[cid, int(ids[slot])]
            rows.append(
                {
                    "cid": cid,
                    "bin": bin_,
                    "rank": rank,
                    "prompt_id": int(ids[slot]),
                    "act_max": float(values[slot]),
                    "map_indices": cells.astype(np.int32).tolist(),
                    "map_values": strengths.astype(np.float32).tolist(),
                    "grid": list(self.grid),
                }
            )
        return rows
