"""Edits of a residual update by concept vectors (paper, section 5). Done on the update itself, never by decoding.

Strengths are in units of the site's RMS residual-update norm, so that they compare between blocks and timesteps;
the paper's two normalisations by the code's norm look swapped in print, and their strengths cannot be copied.
"""

from __future__ import annotations

import torch
from torch import Tensor


def edit_direction(vectors_MD: Tensor) -> Tensor:
    """Unit vector [D] along the sum of concept vectors, each scaled to length 1 first."""
    units = vectors_MD / vectors_MD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    total = units.sum(0)
    return total / total.norm().clamp_min(1e-12)


def random_direction(width: int, seed: int) -> Tensor:
    """The control: a uniformly random unit vector [D], so that the edit has the same norm and no meaning."""
    direction = torch.randn(width, generator=torch.Generator().manual_seed(seed))
    return direction / direction.norm()


def spatial_edit(
    delta_BHWD: Tensor, direction_D: Tensor, removed_BHWD: Tensor, region_BHW: Tensor, size: float
) -> Tensor:
    """Inside the region: delta + size * direction. Outside: delta - removed.

    ``removed`` is what the edited concepts write at each position, sum_c Z_c f_c; ``size`` is in the update's own
    unit; ``region`` is bool.
    """
    raised = delta_BHWD + size * direction_D
    return torch.where(region_BHW[..., None], raised, delta_BHWD - removed_BHWD)


def global_edit(delta_BHWD: Tensor, direction_D: Tensor, size: float) -> Tensor:
    """delta + size * direction at every position."""
    return delta_BHWD + size * direction_D


def contribution(values_NK: Tensor, indices_NK: Tensor, vectors_MD: Tensor, cids_C: Tensor) -> Tensor:
    """sum over the concepts ``cids`` of Z_c f_c at each position, [N, D]."""
    kept = torch.where(torch.isin(indices_NK, cids_C), values_NK, torch.zeros_like(values_NK))
    return torch.einsum("nk,nkd->nd", kept, vectors_MD[indices_NK])
