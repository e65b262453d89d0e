"""The k largest of each row, exactly: on a CPU up to twice as fast as ``topk`` (``benchmarks/by_hand.py``)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def largest(values: Tensor, k: int, in_order: bool = False) -> tuple[Tensor, Tensor]:
    """As ``values.topk(k, dim=-1)``: the k largest of the last axis and where they are; equal values in any order.

    On a CPU the row is cut into groups of g. The k largest lie in the k groups of largest maximum: for a group outside
    those, k elements elsewhere are at least as large as any of its own. So the maxima are selected from, then the g k
    elements of those groups. With g about sqrt(M / k) that is two selections from sqrt(M k) each.
    """
    size = values.shape[-1]
    groups = _group_size(size, k)
    if groups < 2 or values.device.type != "cpu":
        return values.topk(k, dim=-1, sorted=in_order)
    # Element m belongs to group m % (M / g): maxima over the strided axis are plain vector instructions.
    by_group = values.unflatten(-1, (groups, size // groups))
    best = by_group.amax(-2).topk(k, dim=-1, sorted=False).indices
    candidates = by_group.gather(-1, best.unsqueeze(-2).expand(*best.shape[:-1], groups, k)).flatten(-2)
    values_K, at = candidates.topk(k, dim=-1, sorted=in_order)
    return values_K, torch.div(at, k, rounding_mode="floor") * (size // groups) + best.gather(-1, at % k)


def _group_size(size: int, k: int) -> int:
    """A power of two near sqrt(size / k) that divides the row and leaves at least k groups; 1 if there is none."""
    groups = 2 ** round(math.log2(max(math.sqrt(size / k), 1.0)))
    while groups > 1 and (size % groups or size // groups < k):
        groups //= 2
    return groups
