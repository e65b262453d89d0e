"""The two sparse operations everything else is made of, and where each is run.

``products``: dot products of chosen pairs of rows. ``bag``: weighted sums of rows. Each is the other's derivative; neither
gathers its rows into a temporary.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag


def products(left_ND: Tensor, right_MD: Tensor, left_E: Tensor, right_E: Tensor) -> Tensor:
    """<left[left_E], right[right_E]> for each pair: float [E].

    It is the derivative of an embedding bag by its weights, which torch computes by exactly these dot products.
    """
    adjoint = torch.ops.aten._embedding_bag_per_sample_weights_backward
    offsets = torch.zeros(1, dtype=torch.int64, device=left_E.device)  # unused: `left_E` says which row each pair reads
    return adjoint(left_ND, right_MD, right_E, offsets, left_E, 0)


def bag(source_ND: Tensor, at_E: Tensor, offsets_R: Tensor, weights_E: Tensor) -> Tensor:
    """For each bag r the sum of weights * source[at] over pairs offsets[r] to offsets[r + 1]: float [R, D]."""
    return embedding_bag(at_E, source_ND, offsets_R, mode="sum", per_sample_weights=weights_E)
