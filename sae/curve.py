"""Learning curves: at ten points of a run, how its SAEs do on a fixed held-out sample and how far from start they are.

Measuring changes nothing of the training: it draws no random number and writes no parameter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae.kinds import TRAINED
from sae.members import Member, Stack
from sae.metrics import evaluate_all, stability
from sae.selection import batch_thresholds
from sae.settings import SAESettings
from sae.start import cosines_to_start, own_start_is_nearest

CHUNK = 1024  # vectors of the sample at once
# Latents up to which seeds are matched at every point. Matching takes .3 s at 2048 and 1 to 3.5 s at 5120, where a step
# takes milliseconds on a GPU: beyond this width, only at the last point.
MATCHED = 2048
CurveRow = dict[str, Any]  # numbers by name; ``stability`` may be None
Curves = dict[Member, list[CurveRow]]


def over_samples(rows: Sequence[CurveRow]) -> list[CurveRow]:
    """One row a step, ``explained_variance`` and ``dead_fraction`` as means over the samples; the rest is the SAE's."""
    by_step: dict[int, list[CurveRow]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row)
    means = []
    for same in by_step.values():
        held_out = {
            name: float(np.mean([row[name] for row in same])) for name in ("explained_variance", "dead_fraction")
        }
        means.append({name: value for name, value in same[0].items() if name != "sample"} | held_out)
    return means


def sample_digest(samples: Sequence[Tensor]) -> str:
    """A word that changes when the samples do."""
    digest = hashlib.sha256()
    for x_ND in samples:
        digest.update(np.ascontiguousarray(x_ND.numpy()).tobytes())
    return f"{sum(map(len, samples))} vectors, {digest.hexdigest()[:16]}"


@torch.no_grad()
def measure_point(
    stacks: Sequence[Stack], samples: Sequence[Tensor], settings: SAESettings, step: int, last: bool
) -> Curves:
    """A row for every member and sample (standardised vectors, float32 [N, D] each; ``sample`` is its number).

    ``explained_variance`` and ``dead_fraction`` are of that sample. ``init_cosine`` is the mean, ``init_nearest`` the
    share, of ``sae.start``. ``stability`` is a further seed's to the first; None for all others and, before the
    ``last`` point, for more than ``MATCHED`` latents.
    """
    rows: Curves = {}
    for stack in stacks:
        agreement = _stabilities(stack) if last or stack.n <= MATCHED else {}
        thresholds = [_thresholds(stack, x_ND, settings) for x_ND in samples]
        for s, member in enumerate(stack.members):
            rows_MD, start_MD = stack.W_dec[stack.rows(s)], stack.start[stack.rows(s)]
            of_all = {
                "init_cosine": float(cosines_to_start(rows_MD, start_MD).mean()),
                "init_nearest": float(own_start_is_nearest(rows_MD, start_MD).float().mean()),
                "stability": agreement.get(member),
            }
            rows[member] = []
            for number, (x_ND, threshold_S) in enumerate(zip(samples, thresholds, strict=True)):
                sae = stack.member(s, threshold_S[s])
                (found,) = evaluate_all([sae], _chunks(x_ND), str(stack.W_dec.device))
                held_out = {"explained_variance": found.explained_variance, "dead_fraction": found.dead_fraction}
                rows[member].append({"step": step, "sample": number, **held_out, **of_all})
    return rows


def _stabilities(stack: Stack) -> dict[Member, float]:
    """Of each further seed of a trained SAE: how well its concept vectors match those of the first, one to one."""
    first: dict[int, Tensor] = {}
    found = {}
    for member, rows_MD in zip(stack.members, stack.W_dec.detach().cpu().split(stack.n), strict=True):
        if member.kind != TRAINED:
            continue
        if member.k in first:
            found[member] = stability(first[member.k], rows_MD)
        else:
            first[member.k] = rows_MD
    return found


def _thresholds(stack: Stack, x_ND: Tensor, settings: SAESettings) -> list[float] | list[None]:
    """BatchTopK's, from the sample itself: the one of the finished SAE is known at the end alone."""
    if settings.variant != "batchtopk":
        return [None] * len(stack)
    lowest = [batch_thresholds(stack, part.to(stack.W_enc.device), settings.precision) for part in x_ND.split(CHUNK)]
    return torch.stack(lowest).mean(0).clamp_min(0).tolist()


def _chunks(x_ND: Tensor) -> Iterator[np.ndarray]:
    return (part.numpy() for part in x_ND.split(CHUNK))
