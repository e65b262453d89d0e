"""Which latents are on: the one dense product of a training step, and the selection from it.

The product is made a block of vectors at a time, so that the [block, M] result stays in cache and memory does not grow
with the batch. No gradient passes here: values get theirs in ``sparse.EncodeAt``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sae.largest import largest
from sae.members import Stack
from sae.primitives import sddmm
from sae.settings import SAESettings
from sae.sparse import Chosen, chosen_from_pairs, chosen_from_rows

CPU_BLOCK = 1024  # vectors; measured best of 128 to 4096 at widths of 5120 and 20480
SPARE = 8  # candidates beyond k in bfloat16: with them, no selection differed from float32's on 4096 random vectors
CAP = 4  # BatchTopK: a vector has at most CAP * k latents


@torch.no_grad()
def select_latents(stack: Stack, x_ND: Tensor, settings: SAESettings) -> tuple[Chosen, Tensor]:
    """The latents of each (SAE, vector) and their pre-activations float32 [E], rows r = s * N + n."""
    ks = [member.k for member in stack.members]
    if settings.variant == "batchtopk":
        values_SNK, latents_SNK = top_latents(stack, x_ND, min(CAP * max(ks), stack.n), settings.precision)
        return _batch_topk(stack, values_SNK, latents_SNK, ks)
    values_SNK, latents_SNK = top_latents(stack, x_ND, max(ks), settings.precision, in_order=len(set(ks)) > 1)
    if len(set(ks)) == 1:
        return _chosen(stack, latents_SNK), values_SNK.reshape(-1)
    keep_SK = torch.arange(max(ks), device=x_ND.device) < torch.tensor(ks, device=x_ND.device)[:, None]
    keep_E = keep_SK[:, None, :].expand_as(values_SNK).reshape(-1)
    count = sum(ks) * len(x_ND)
    return _compress(stack, latents_SNK, values_SNK, keep_E, count)


def top_latents(stack: Stack, x_ND: Tensor, k: int, precision: str, in_order: bool = False) -> tuple[Tensor, Tensor]:
    """The k largest pre-activations of every (SAE, vector): values float32 and latents int64, both [S, N, k].

    One SAE and one block of vectors at a time: the weights of several do not fit a cache together.
    """
    blocks = x_ND.split(CPU_BLOCK) if x_ND.device.type == "cpu" else (x_ND,)
    values, latents = [], []
    for W_MD, b_D in zip(stack.W_enc.split(stack.n), stack.b, strict=True):
        find = _screened(W_MD, W_MD @ b_D) if precision == "bfloat16" else _exact(W_MD, W_MD @ b_D)
        parts = [find(block_ND, k, in_order) for block_ND in blocks]
        values.append(torch.cat([part for part, _ in parts]))
        latents.append(torch.cat([part for _, part in parts]))
    return torch.stack(values), torch.stack(latents)


Find = Callable[[Tensor, int, bool], tuple[Tensor, Tensor]]


def _exact(W_MD: Tensor, shift_M: Tensor) -> Find:
    """x -> the k largest of x W - shift."""
    return lambda x_ND, k, in_order: largest(torch.addmm(shift_M, x_ND, W_MD.T, beta=-1), k, in_order)


def _screened(W_MD: Tensor, shift_M: Tensor) -> Find:
    """The same: candidates from a bfloat16 product, then the k largest by their exact float32 values."""
    rough_MD, rough_shift_M = W_MD.bfloat16(), shift_M.bfloat16()

    def find(x_ND: Tensor, k: int, in_order: bool) -> tuple[Tensor, Tensor]:
        rough_NM = torch.addmm(rough_shift_M, x_ND.bfloat16(), rough_MD.T, beta=-1)
        _, candidates_NC = largest(rough_NM, min(k + SPARE, len(W_MD)))
        per_vector = candidates_NC.shape[1]
        vectors_E = torch.arange(len(x_ND), device=x_ND.device).repeat_interleave(per_vector)
        exact_E = sddmm(x_ND, W_MD, vectors_E, candidates_NC.reshape(-1)) - shift_M[candidates_NC.reshape(-1)]
        values_NK, slots_NK = exact_E.view_as(candidates_NC).topk(k, dim=1, sorted=in_order)
        return values_NK, candidates_NC.gather(1, slots_NK)

    return find


def _chosen(stack: Stack, latents_SNK: Tensor) -> Chosen:
    """Latents within each SAE -> pairs over the stack."""
    first_S = torch.arange(len(stack), device=latents_SNK.device) * stack.n
    stacked = (latents_SNK + first_S[:, None, None]).flatten(0, 1)
    return chosen_from_rows(stacked, latents_SNK.shape[1], len(stack) * stack.n)


def _compress(
    stack: Stack, latents_SNK: Tensor, values_SNK: Tensor, keep_E: Tensor, count: int
) -> tuple[Chosen, Tensor]:
    """Keep ``count`` pairs, those marked; the count is known, so no device has to be asked for it."""
    kept = torch.nonzero_static(keep_E, size=count).squeeze(1)
    full = _chosen(stack, latents_SNK)
    n_vectors = latents_SNK.shape[1]
    pairs = (full.latents_E[kept], full.rows_E[kept], len(stack) * n_vectors, n_vectors, full.n_latents)
    return chosen_from_pairs(*pairs), values_SNK.reshape(-1)[kept]


@torch.no_grad()
def batch_thresholds(stack: Stack, x_ND: Tensor, precision: str) -> Tensor:
    """For each SAE the value that k latents a vector reach on average in this batch, float32 [S]."""
    widest = max(member.k for member in stack.members)
    values_SNK, _ = top_latents(stack, x_ND, min(4 * CAP * widest, stack.n), precision)
    lowest = [
        values.reshape(-1).topk(member.k * len(x_ND), sorted=False).values.amin()
        for values, member in zip(values_SNK, stack.members, strict=True)
    ]
    return torch.stack(lowest)


def _batch_topk(stack: Stack, values_SNK: Tensor, latents_SNK: Tensor, ks: list[int]) -> tuple[Chosen, Tensor]:
    """The N * k largest values of each SAE's batch."""
    keep_SE = torch.zeros(len(stack), values_SNK[0].numel(), dtype=torch.bool, device=values_SNK.device)
    n_vectors = latents_SNK.shape[1]
    for s, k in enumerate(ks):
        flat = values_SNK[s]
        if CAP * k < flat.shape[1]:  # another SAE of the stack has a larger k, hence a larger cap
            cut = flat.topk(CAP * k, dim=1).values[:, -1:]
            flat = torch.where(flat >= cut, flat, -torch.inf)
        keep_SE[s, flat.reshape(-1).topk(n_vectors * k, sorted=False).indices] = True
    return _compress(stack, latents_SNK, values_SNK, keep_SE.reshape(-1), sum(ks) * n_vectors)
