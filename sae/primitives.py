"""The two sparse operations everything else is made of, and where each is run.

``sddmm`` (sampled dense-dense product): dot products of chosen pairs of rows. ``spmm`` (sparse-dense): weighted sums
of rows. Each is the other's derivative; neither gathers its rows into a temporary. On a GPU they are Triton kernels
if Triton is there, else torch's operations.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from sae.kernels import sddmm_triton, spmm_triton, work_on

KERNEL_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # the kernels' sums are float32


def sddmm(left_ND: Tensor, right_MD: Tensor, left_E: Tensor, right_E: Tensor) -> Tensor:
    """<left[left_E], right[right_E]> for each pair: float [E].

    It is the derivative of an embedding bag by its weights, which torch computes by exactly these dot products.
    """
    if by_triton(left_ND, right_MD):
        return sddmm_triton(left_ND, right_MD, left_E, right_E)
    adjoint = torch.ops.aten._embedding_bag_per_sample_weights_backward
    offsets = left_E.new_zeros(1)  # unused: `left_E` says which row each pair reads
    return adjoint(left_ND, right_MD, right_E, offsets, left_E, 0)


def spmm(source_ND: Tensor, at_E: Tensor, offsets_R: Tensor, weights_E: Tensor) -> Tensor:
    """For each bag r the sum of weights * source[at] over pairs offsets[r] to offsets[r + 1]: float [R, D]."""
    if by_triton(source_ND, weights_E):
        return spmm_triton(source_ND, at_E, offsets_R, weights_E)
    return embedding_bag(at_E, source_ND, offsets_R, mode="sum", per_sample_weights=weights_E)


def sum_groups(numbers_E: Tensor, group_E: Tensor, order_E: Tensor, offsets_M: Tensor) -> Tensor:
    """The sum of each group's numbers: float [M].

    ``order_E`` sorts the numbers by their group, and ``offsets_M`` says where each group begins in that order.

    On a GPU the sorted order is used: adding by index would take the numbers in any order there, and two runs of one
    training would part in their last bits.
    """
    if by_triton(numbers_E):
        one = numbers_E.new_ones(1, 1)
        return spmm_triton(one, torch.zeros_like(order_E), offsets_M, numbers_E[order_E]).squeeze(1)
    return numbers_E.new_zeros(len(offsets_M)).index_add_(0, group_E, numbers_E)


def by_triton(*floats: Tensor) -> bool:
    """Whether the kernels take these: on a GPU, not float64, and without autograd, which they do not record."""
    recorded = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in floats)
    fit = all(tensor.is_cuda and tensor.dtype in KERNEL_DTYPES for tensor in floats)
    return fit and not recorded and work_on(floats[0].device)
