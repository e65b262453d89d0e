"""Following concepts from one time to the next: which concept of one SAE is which of another.

Two kinds of evidence. *Cosine* of concept vectors: do they write the same direction? *Co-activation*: do they fire at
the same positions of the same prompts? Each concept is given its best partner by either, with the other measure beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse


def firing(values: np.ndarray, latents: np.ndarray, n: int) -> sparse.csr_array:
    """Where each concept fires: int32 0/1 [positions, n] from codes [..., K]."""
    k = values.shape[-1]
    on = values.reshape(-1, k) > 0
    rows = np.broadcast_to(np.arange(len(on))[:, None], on.shape)[on]
    return sparse.csr_array((np.ones(len(rows), np.int32), (rows, latents.reshape(-1, k)[on])), shape=(len(on), n))


class CoActivation:
    """Integer counts over positions, mergeable in any order: each concept's own, and of every pair together.

    ``shuffled`` pairs each prompt at the first time with another prompt at the second: what position alone explains.
    """

    def __init__(self, n_from: int, n_to: int) -> None:
        self.n_from, self.n_to = np.zeros(n_from, np.int64), np.zeros(n_to, np.int64)
        self.both = np.zeros((n_from, n_to), np.int32)
        self.shuffled = np.zeros((n_from, n_to), np.int32)

    def add(self, first: sparse.csr_array, second: sparse.csr_array, cells: int) -> None:
        """Firing of a few prompts at both times, [prompts * cells, n]; for the control, prompts are rolled by one."""
        self.n_from += np.asarray(first.sum(0)).ravel()
        self.n_to += np.asarray(second.sum(0)).ravel()
        self._count(self.both, first, second)
        rolled = np.roll(np.arange(second.shape[0]), cells)
        self._count(self.shuffled, first, second[rolled])

    @staticmethod
    def _count(into: np.ndarray, first: sparse.csr_array, second: sparse.csr_array) -> None:
        counts = (first.T @ second).tocoo()
        into[counts.row, counts.col] += counts.data

    def jaccard(self, both: np.ndarray) -> np.ndarray:
        """Positions where both fire over those where either does, [n_from, n_to]; 0 where neither ever fires."""
        either = self.n_from[:, None] + self.n_to[None, :] - both
        return both / np.maximum(either, 1)


@dataclass(frozen=True)
class Match:
    """The partner of each concept [n_from] by one measure, and whether it is mutual."""

    chosen_by: str
    cid_to: np.ndarray
    mutual: np.ndarray


def best_matches(score: np.ndarray, chosen_by: str) -> Match:
    """Each row's best column; mutual where the column's best row is that row. Ties go to the smaller CID."""
    forward, backward = score.argmax(1), score.argmax(0)
    return Match(chosen_by, forward, backward[forward] == np.arange(len(score)))


def cosines(first_MD: np.ndarray, second_MD: np.ndarray) -> np.ndarray:
    """Cosine of every pair of concept vectors, [n_from, n_to]; 0 for a zero vector.

    By torch, whose threads ``run.torch_threads`` holds: numpy's differ between a process and a Dask worker, and with
    them the last bit of a sum.
    """
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (first_MD, second_MD))
    return (torch.from_numpy(a) @ torch.from_numpy(b).T).numpy()


def match_rows(counts: CoActivation, cosine: np.ndarray, shared: bool) -> list[dict[str, Any]]:
    """Rows for every concept that fires at the first time: partners by cosine and by co-activation.

    For a shared SAE the partner is the concept itself, ``chosen_by`` identity.
    """
    jaccard, shuffled = counts.jaccard(counts.both), counts.jaccard(counts.shuffled)
    if shared:
        everyone = np.arange(len(cosine))
        matches = [Match("identity", everyone, np.ones(len(cosine), bool))]
    else:
        alive = np.where(counts.n_to > 0, cosine, -np.inf)  # a dead latent is nobody's partner
        matches = [best_matches(alive, "cosine"), best_matches(jaccard, "coactivation")]
    rows = []
    for match in matches:
        for cid in np.flatnonzero(counts.n_from):
            at = (cid, match.cid_to[cid])
            rows.append(
                {
                    "cid_from": int(cid),
                    "chosen_by": match.chosen_by,
                    "cid_to": int(at[1]),
                    "cosine": float(cosine[at]),
                    "coactivation": float(jaccard[at]),
                    "coactivation_shuffled": float(shuffled[at]),
                    "n_both": int(counts.both[at]),
                    "mutual": bool(match.mutual[cid]),
                }
            )
    return rows
