"""Which of a study's blocks an edit is made at: those by which most of another caption comes through.

A patch writes at some blocks the residual updates of another caption's own run, at every step. What that does is the
most that an edit at those blocks can be asked for, whatever concepts it is made of (table ``traced_blocks``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from concepts.intervals import cluster_interval

ENOUGH = 0.9  # of the best set's mean effect
Blocks = tuple[str, ...]
Effects = dict[Blocks, np.ndarray]  # float64 [P], each pair's rise of the target's probability


@dataclass(frozen=True)
class Pairs:
    """What every set of blocks is tried on: pairs of a prompt and another caption, several of a prompt perhaps.

    ``ceiling`` float64 [P]: what the other caption does by itself; ``prompts`` [P]: whose they are.
    """

    ceiling: np.ndarray
    prompts: Sequence[int]


def grown_sets(blocks: Blocks, try_all: Callable[[list[Blocks]], Effects], most: int) -> Effects:
    """Every block by itself, then sets up to ``most`` blocks: each the one before and the block that adds most.

    The blocks of a set are in the order in which they were added.
    """
    tried = try_all([(block,) for block in blocks])
    chosen = max(tried, key=lambda one: float(tried[one].mean()))
    for _ in range(min(most, len(blocks)) - 1):
        larger = try_all([(*chosen, block) for block in blocks if block not in chosen])
        chosen = max(larger, key=lambda one: float(larger[one].mean()))
        tried[chosen] = larger[chosen]
    return tried


def chosen_blocks(tried: Effects) -> Blocks:
    """The smallest set that carries nine tenths of what the best one does, or is within a standard error of it.

    Of sets of one size the one of larger effect. The error is that of the paired difference to the best set. Nine
    tenths, since a further block is pushed with a norm of its own, which is worth more than a hundredth of effect.
    """
    best = max(tried, key=lambda one: float(tried[one].mean()))
    enough = [one for one in tried if not _below(tried[one], tried[best])]
    return min(enough, key=lambda one: (len(one), -float(tried[one].mean())))


def _below(effects: np.ndarray, best: np.ndarray) -> bool:
    if effects.mean() >= ENOUGH * best.mean():
        return False
    less = best - effects
    error = float(less.std(ddof=1) / np.sqrt(len(less))) if len(less) > 1 else 0.0
    return bool(less.mean() > error)


def traced_rows(tried: Effects, chosen: Blocks, pairs: Pairs, samples: int, seed: int) -> list[dict[str, Any]]:
    """A row of ``traced_blocks`` for each set, kind apart; intervals resample prompts ``samples`` times by ``seed``."""
    ceiling = float(pairs.ceiling.mean())
    return [
        {
            "blocks": "+".join(blocks),
            "n_blocks": len(blocks),
            "effect": float(effects.mean()),
            **_interval(effects, pairs, samples, seed),
            "ceiling": ceiling,
            "share": float(effects.mean()) / ceiling if ceiling > 0 else None,
            "chosen": blocks == chosen,
            "n": len(effects),
            "n_prompts": len(set(pairs.prompts)),
        }
        for blocks, effects in tried.items()
    ]


def _interval(effects: np.ndarray, pairs: Pairs, samples: int, seed: int) -> dict[str, float | None]:
    ends = cluster_interval(effects, pairs.prompts, samples, seed, (-1.0, 1.0))
    low, high = (None if np.isnan(end) else float(end) for end in ends)
    return {"effect_ci_low": low, "effect_ci_high": high}
