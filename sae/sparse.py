"""The two sparse products of an SAE, with closed-form gradients that touch only the chosen latents.

Shape suffixes: N vectors, D channels, M latents, S stacked SAEs, R = S * N rows (row s * N + n is vector n in SAE s),
E chosen (row, latent) pairs. With k latents a vector, E = R * k, and nothing here is ever [N, k, D]:

- decoding and both weight gradients are an ``spmm``: E rows summed, with weights, by row or by latent;
- encoding and the gradient of the codes are an ``sddmm``: <row, latent> at the chosen pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sae.primitives import sddmm, spmm, sum_groups


class Chosen(NamedTuple):
    """Which latents are on, as a sparse matrix [R, S * M] in row order.

    ``latents_E`` int64, into the stacked latents; ``rows_E`` int64, ascending; ``vectors_E`` int64 = rows % N;
    ``offsets_R`` int64, where each row begins; ``n_latents`` = S * M.
    """

    latents_E: Tensor
    rows_E: Tensor
    vectors_E: Tensor
    offsets_R: Tensor
    n_latents: int


def chosen_from_rows(latents_RK: Tensor, n_vectors: int, n_latents: int) -> Chosen:
    """The same number of latents in every row, as TopK gives them."""
    rows, k = latents_RK.shape
    device = latents_RK.device
    rows_E = torch.arange(rows, device=device).repeat_interleave(k, output_size=rows * k)
    offsets_R = torch.arange(0, rows * k, k, device=device)
    return Chosen(latents_RK.reshape(-1), rows_E, rows_E % n_vectors, offsets_R, n_latents)


def chosen_from_pairs(latents_E: Tensor, rows_E: Tensor, n_rows: int, n_vectors: int, n_latents: int) -> Chosen:
    """Any number of latents in a row, as BatchTopK gives them; ``rows_E`` must ascend."""
    return Chosen(latents_E, rows_E, rows_E % n_vectors, _starts(rows_E, n_rows), n_latents)


def _starts(group_E: Tensor, n_groups: int) -> Tensor:
    """Where each group begins once pairs are sorted by group: int64 [n_groups]."""
    counts = torch.zeros(n_groups, dtype=torch.int64, device=group_E.device)
    counts.index_add_(0, group_E, torch.ones_like(group_E))
    return counts.cumsum(0) - counts


class ByLatent(NamedTuple):
    """A ``Chosen`` matrix transposed: pairs sorted by latent (stably, so that sums have one order).

    Made once a step and used by both weight gradients.
    """

    order_E: Tensor
    offsets_M: Tensor

    @classmethod
    def of(cls, chosen: Chosen) -> ByLatent:
        """Sort the pairs."""
        latents_E, n_latents = chosen.latents_E, chosen.n_latents
        return cls(stable_order(latents_E, n_latents), _starts(latents_E, n_latents))

    def sum_rows(self, source_ND: Tensor, source_E: Tensor, weights_E: Tensor) -> Tensor:
        """For each latent the sum of weight * source row over its pairs: [S * M, D]."""
        return spmm(source_ND, source_E[self.order_E], self.offsets_M, weights_E[self.order_E])


def stable_order(latents_E: Tensor, n_latents: int) -> Tensor:
    """The stable argsort of latents; on a CPU by numpy's radix sort of 16-bit numbers, over twice as fast."""
    if latents_E.device.type == "cpu" and n_latents <= 2**16:
        return torch.from_numpy(np.argsort(latents_E.numpy().astype(np.uint16), kind="stable"))
    return latents_E.argsort(stable=True)


class EncodeAt(torch.autograd.Function):
    """Pre-activations (x - b) . w_m at the chosen pairs: [E].

    Inputs: x [N, D], encoder rows [S * M, D], biases [S, D], the pairs, and the values if they are known already (from
    the product that chose them); then they are returned and only the gradient is ours. Gradients, with g [E]:
    dW[m] = sum_e g_e (x - b), db = - sum_e g_e w, dx = sum_e g_e w (only if asked for).
    """

    @staticmethod
    def forward(
        ctx: Any, x_ND: Tensor, W_MD: Tensor, b_SD: Tensor, chosen: Chosen, order: ByLatent, known_E: Tensor | None
    ) -> Tensor:
        """The values [E]."""
        ctx.save_for_backward(x_ND, W_MD, b_SD)
        ctx.chosen, ctx.order = chosen, order
        return pre_activations_at(x_ND, W_MD, b_SD, chosen) if known_E is None else known_E.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_E: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x, W and b; there are none of the other inputs."""
        x_ND, W_MD, b_SD = ctx.saved_tensors
        chosen, stacked = ctx.chosen, len(b_SD)
        sums_M = sum_groups(g_E, chosen.latents_E, *ctx.order)
        dW = ctx.order.sum_rows(x_ND, chosen.vectors_E, g_E)
        sums_SM = sums_M.view(stacked, -1)
        dW.view(stacked, -1, dW.shape[1]).baddbmm_(sums_SM[:, :, None], b_SD[:, None, :], alpha=-1)  # no temporary
        db = -torch.einsum("sm,smd->sd", sums_SM, W_MD.view(stacked, -1, W_MD.shape[1]))
        dx = None
        if ctx.needs_input_grad[0]:
            per_row = spmm(W_MD, chosen.latents_E, chosen.offsets_R, g_E)
            dx = per_row.view(stacked, *x_ND.shape).sum(0)
        return dx, dW, db, None, None, None


def pre_activations_at(x_ND: Tensor, W_MD: Tensor, b_SD: Tensor, chosen: Chosen) -> Tensor:
    """(x - b) . w at the chosen pairs, [E], in the inputs' precision."""
    per_latent_M = torch.einsum("sd,smd->sm", b_SD, W_MD.view(len(b_SD), -1, W_MD.shape[1])).reshape(-1)
    return sddmm(x_ND, W_MD, chosen.vectors_E, chosen.latents_E) - per_latent_M[chosen.latents_E]


class DecodeAt(torch.autograd.Function):
    """Sum of value * concept vector over each row's pairs, without the bias: [R, D].

    Gradients, with G [R, D]: dvalue_e = <G[row], f>, dW[m] = sum_e value_e G[row].
    """

    @staticmethod
    def forward(ctx: Any, values_E: Tensor, W_MD: Tensor, chosen: Chosen, order: ByLatent) -> Tensor:
        """The sums [R, D]."""
        ctx.save_for_backward(values_E, W_MD)
        ctx.chosen, ctx.order = chosen, order
        return spmm(W_MD, chosen.latents_E, chosen.offsets_R, values_E)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, G_RD: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the values and of W; there are none of the other inputs."""
        values_E, W_MD = ctx.saved_tensors
        chosen = ctx.chosen
        G_RD = G_RD.contiguous()
        dvalues = sddmm(G_RD, W_MD, chosen.rows_E, chosen.latents_E) if ctx.needs_input_grad[0] else None
        dW = ctx.order.sum_rows(G_RD, chosen.rows_E, values_E) if ctx.needs_input_grad[1] else None
        return dvalues, dW, None, None
