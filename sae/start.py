"""How far decoder rows stand from the rows they began as: whether a concept was learned, or drawn.

A random start has a cosine of about 0 to any direction, give or take 1 / sqrt(D). A row that still has a cosine of 0.7
to its own start owes half of its squared length to it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

BLOCK = 1024  # rows compared with all starts at once: 20 MB of cosines at 5120 latents


@torch.no_grad()
def cosines_to_start(rows_MD: Tensor, start_MD: Tensor) -> Tensor:
    """Cosine of each row to the row it began as, float32 [M] in [-1, 1]; 0 for a row without length."""
    return torch.linalg.vecdot(normalize(rows_MD.float(), dim=1), normalize(start_MD.float(), dim=1)).clamp(-1, 1)


@torch.no_grad()
def own_start_is_nearest(rows_MD: Tensor, start_MD: Tensor) -> Tensor:
    """Whether no other start has a larger cosine to a row than its own, bool [M]."""
    starts_MD = normalize(start_MD.float(), dim=1)
    nearest = []
    for first in range(0, len(rows_MD), BLOCK):
        cosine_BM = rows_MD[first : first + BLOCK].float() @ starts_MD.T  # a row's length does not change its order
        nearest.append(cosine_BM.diagonal(first) >= cosine_BM.amax(1))
    return torch.cat(nearest)
