"""Following concepts from one time to the next: which concept of one SAE is which of another.

Two kinds of evidence. *Cosine* of concept vectors: do they write the same direction? *Co-activation*: do they fire at
the same positions of the same prompts? Each concept is given its best partner by either, with the other measure beside.

SAEs of one seed began as the same random rows at all times, so that a partner may only be what is left of the common
start. The control is an SAE of another seed at the later time, which shares all but the start: a claim about concepts
through time is the difference of a partner to the partner there, found in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.optimize import linear_sum_assignment

from concepts.intervals import mean_interval

IDENTITY, COSINE, COACTIVATION = "identity", "cosine", "coactivation"  # how a partner is chosen
SERIES = ("block", "conditioning", "k", "t_from", "t_to", "kind", "chosen_by")
MEASURES = ("cosine", "coactivation", "mutual")  # each with a column of the other seed's beside it
NO_OTHER_SEED = dict.fromkeys(f"{measure}_other_seed" for measure in MEASURES)


def firing(values: np.ndarray, latents: np.ndarray, n: int) -> sparse.csr_array:
    """Where each concept fires: int32 0/1 [positions, n] from codes [..., K]."""
    k = values.shape[-1]
    on = values.reshape(-1, k) > 0
    rows = np.broadcast_to(np.arange(len(on))[:, None], on.shape)[on]
    return sparse.csr_array((np.ones(len(rows), np.int32), (rows, latents.reshape(-1, k)[on])), shape=(len(on), n))


def padded(on: sparse.csr_array) -> np.ndarray:
    """int64 [positions, most that fire at one]: the concepts that fire at each, then the number that none has."""
    many = np.diff(on.indptr)
    concepts = np.full((len(many), many.max(initial=0)), on.shape[1])
    concepts[np.arange(concepts.shape[1]) < many[:, None]] = on.indices
    return concepts


class CoActivation:
    """Integer counts over positions, mergeable in any order: each concept's own, and of every pair together.

    ``shuffled`` pairs each prompt at the first time with another prompt at the second: what position alone explains.
    It is counted only if asked for, and has no columns else.
    """

    def __init__(self, n_from: int, n_to: int, with_shuffled: bool = True) -> None:
        self.n_from, self.n_to = np.zeros(n_from, np.int64), np.zeros(n_to, np.int64)
        self.both = np.zeros((n_from, n_to), np.int32)
        self.with_shuffled = with_shuffled
        self.shuffled = np.zeros((n_from, n_to if with_shuffled else 0), np.int32)

    def add(self, first: sparse.csr_array, second: sparse.csr_array, cells: int) -> None:
        """Firing of a few prompts at both times, [prompts * cells, n]; for the control, prompts are rolled by one."""
        self.n_from += np.asarray(first.sum(0)).ravel()
        self.n_to += np.asarray(second.sum(0)).ravel()
        self._count(self.both, first, second)
        if self.with_shuffled:
            rolled = np.roll(np.arange(second.shape[0]), cells)
            self._count(self.shuffled, first, second[rolled])

    @staticmethod
    def _count(into: np.ndarray, first: sparse.csr_array, second: sparse.csr_array) -> None:
        """The sparse product ``first.T @ second``, by hand: a row at a time, counted where the cache holds it."""
        n = into.shape[1]
        columns, others = first.tocsc(), padded(second)
        for cid in np.flatnonzero(np.diff(columns.indptr)):
            positions = columns.indices[columns.indptr[cid] : columns.indptr[cid + 1]]
            into[cid] += np.bincount(others[positions].ravel(), minlength=n)[:n].astype(into.dtype)

    def jaccard(self, both: np.ndarray) -> np.ndarray:
        """Positions where both fire over those where either does, [n_from, n_to]; 0 where neither ever fires."""
        return jaccard(both, self.n_from[:, None], self.n_to[None, :])


def jaccard(both: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Positions where both of a pair fire over those where either does, in [0, 1]; 0 where neither ever does.

    From the counts of positions of both and of each, as arrays that broadcast.
    """
    return both / np.maximum(first + second - both, 1)


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


@dataclass(frozen=True)
class Candidates:
    """The concepts of one SAE as partners of another's: ``cosine`` [n_from, n_to], and counts of firing together."""

    cosine: np.ndarray
    counts: CoActivation

    @cached_property
    def jaccard(self) -> np.ndarray:
        """Co-activation of every pair, [n_from, n_to] in [0, 1]."""
        return self.counts.jaccard(self.counts.both)

    def best(self) -> list[Match]:
        """Of each concept the partner by cosine, and that by co-activation. A dead latent is nobody's partner."""
        alive = np.where(self.counts.n_to > 0, self.cosine, -np.inf)
        return [best_matches(alive, COSINE), best_matches(self.jaccard, COACTIVATION)]

    def itself(self) -> list[Match]:
        """Of a shared SAE the partner is the concept itself."""
        everyone = np.arange(len(self.cosine))
        return [Match(IDENTITY, everyone, np.ones(len(everyone), bool))]

    def one_to_one(self) -> list[Match]:
        """Of two seeds of a shared SAE: all in pairs so that the mean cosine is largest, as ``stability`` has them.

        Mutual are pairs of which each is the other's nearest.
        """
        partner, nearest = linear_sum_assignment(self.cosine, maximize=True)[1], best_matches(self.cosine, IDENTITY)
        return [Match(IDENTITY, partner, nearest.mutual & (nearest.cid_to == partner))]


def cosines(first_MD: np.ndarray, second_MD: np.ndarray) -> np.ndarray:
    """Cosine of every pair of concept vectors, [n_from, n_to]; 0 for a zero vector.

    By torch, whose threads ``run.torch_threads`` holds: numpy's differ between a process and a Dask worker, and with
    them the last bit of a sum.
    """
    a, b = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (first_MD, second_MD))
    return (torch.from_numpy(a) @ torch.from_numpy(b).T).numpy()


def match_rows(next_time: Candidates, shared: bool, other_seed: Candidates | None = None) -> list[dict[str, Any]]:
    """Rows for every concept that fires at the first time: partners by cosine and by co-activation.

    For a shared SAE the partner is the concept itself, ``chosen_by`` identity. With the SAE of another seed at the next
    time, each row has the concept's partner there beside it, chosen by the same measure; for a shared SAE one to one.
    """
    counts, shuffled = next_time.counts, next_time.counts.jaccard(next_time.counts.shuffled)
    matches = next_time.itself() if shared else next_time.best()
    controls = matches
    if other_seed:
        controls = other_seed.one_to_one() if shared else other_seed.best()
    rows = []
    for match, control in zip(matches, controls, strict=True):
        for cid in np.flatnonzero(counts.n_from):
            at = (cid, match.cid_to[cid])
            rows.append(
                {
                    "cid_from": int(cid),
                    "chosen_by": match.chosen_by,
                    "cid_to": int(at[1]),
                    "cosine": float(next_time.cosine[at]),
                    "coactivation": float(next_time.jaccard[at]),
                    "coactivation_shuffled": float(shuffled[at]),
                    "n_both": int(counts.both[at]),
                    "mutual": bool(match.mutual[cid]),
                    **(_beside(other_seed, control, int(cid)) if other_seed else NO_OTHER_SEED),
                }
            )
    return rows


def _beside(other_seed: Candidates, match: Match, cid: int) -> dict[str, Any]:
    """What the other seed's SAE has for a concept, by the names of the columns."""
    at = (cid, match.cid_to[cid])
    return {
        "cosine_other_seed": float(other_seed.cosine[at]),
        "coactivation_other_seed": float(other_seed.jaccard[at]),
        "mutual_other_seed": bool(match.mutual[cid]),
    }


def beyond_other_seed(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far partners through time exceed those of the other seed, from rows of ``concept_matches``.

    One row for each block, conditioning, k, pair of times, kind and ``chosen_by``: ``n`` concepts, and of each measure
    the mean, the other seed's, and the mean of their differences with its 95 % interval over concepts (Student's t of
    the pairs; null for one concept). Groups without another seed are left out. The interval takes concepts for draws
    of their own, which those of one SAE are not quite: it says how sure the mean is for this pair of SAEs, not for all.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["cosine_other_seed"] is not None:
            groups.setdefault(tuple(row[name] for name in SERIES), []).append(row)
    return [
        {**dict(zip(SERIES, key, strict=True)), "n": len(members), **_differences(members)}
        for key, members in groups.items()
    ]


def _differences(rows: list[Mapping[str, Any]]) -> dict[str, float | None]:
    columns: dict[str, float | None] = {}
    for measure in MEASURES:
        own, other = np.array([(row[measure], row[f"{measure}_other_seed"]) for row in rows], float).T
        low, high = mean_interval(own - other)
        columns |= {
            measure: float(own.mean()),
            f"{measure}_other_seed": float(other.mean()),
            f"{measure}_beyond": float((own - other).mean()),
            f"{measure}_ci_low": None if np.isnan(low) else low,
            f"{measure}_ci_high": None if np.isnan(high) else high,
        }
    return columns
