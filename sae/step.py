"""One training step of a stack of SAEs, and the state it changes. Nothing in it waits for the device.

The loss of each SAE is the share of the vectors' variance that it leaves unexplained, plus AuxK. Vectors are
standardised (mean square 1 a channel), so that share is |x - x_hat|^2 / D. SAEs of a stack do not influence each other:
their losses add up, and each one's gradient is clipped by its own norm.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sae.members import Stack
from sae.selection import select_latents
from sae.settings import SAESettings
from sae.sparse import ByLatent, Chosen, DecodeAt, EncodeAt


class StepFigures(NamedTuple):
    """What a step saw, float32 [S] each, on the device.

    ``fvu`` of the batch, ``aux`` (0 without dead latents), ``l0``, ``gradient_norm`` before clipping.
    """

    fvu: Tensor
    aux: Tensor
    l0: Tensor
    gradient_norm: Tensor


class TrainState:
    """Everything a step reads and changes.

    ``since_fired`` int64 [S * M] counts vectors. ``dead`` holds, for each SAE, the latents [n_dead] that were dead at
    the last look.
    """

    def __init__(self, stack: Stack, settings: SAESettings) -> None:
        self.stack = stack
        self.optimizer = torch.optim.Adam(
            stack.parameters(), lr=settings.lr, betas=settings.adam_betas, eps=settings.adam_eps, fused=True
        )
        device = stack.W_enc.device
        self.since_fired = torch.zeros(len(stack) * stack.n, dtype=torch.int64, device=device)
        self.dead = [torch.empty(0, dtype=torch.int64, device=device) for _ in stack.members]
        self.step = 0

    def look_for_dead(self, settings: SAESettings) -> None:
        """Renew ``dead``; this waits for the device."""
        dead_SM = (self.since_fired >= settings.dead_after_vectors).view(len(self.stack), -1)
        self.dead = [row.nonzero().squeeze(1) for row in dead_SM]


def train_step(state: TrainState, x_ND: Tensor, settings: SAESettings, lr: float) -> StepFigures:
    """One step on standardised vectors [N, D]; the learning rate is the caller's."""
    stack = state.stack
    if state.step % settings.dead_check_every == 0:
        state.look_for_dead(settings)
    chosen, pre_E = select_latents(stack, x_ND, settings)
    order = ByLatent.of(chosen)
    values_E = EncodeAt.apply(x_ND, stack.W_enc, stack.b, chosen, order, pre_E).relu()
    reconstructed, loss = _reconstruct(stack, x_ND, values_E, chosen, order, settings)
    error_SND = x_ND - reconstructed.detach()
    aux_S = _aux_losses(state, x_ND, error_SND, settings)
    (loss + settings.aux_alpha * aux_S.sum()).backward()
    norm_S = shape_gradients(stack, settings.clip)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        stack.W_dec.div_(stack.W_dec.norm(dim=1, keepdim=True).clamp_min_(1e-12))
        stack.keep_near_start()
        l0_S = _count_firing(state, chosen, values_E, len(x_ND))
    state.step += 1
    return StepFigures(_squares(error_SND, len(stack)) / x_ND.numel(), aux_S.detach(), l0_S, norm_S)


def _reconstruct(
    stack: Stack, x_ND: Tensor, values_E: Tensor, chosen: Chosen, order: ByLatent, settings: SAESettings
) -> tuple[Tensor, Tensor]:
    """x_hat [S, N, D] of all latents together, and the loss summed over SAEs; a mean over nested prefixes, if any."""
    shape = (len(stack), *x_ND.shape)
    target_SND = x_ND.expand(shape)
    if not settings.matryoshka:
        x_hat_SND = DecodeAt.apply(values_E, stack.W_dec, chosen, order).view(shape) + stack.b[:, None]
        return x_hat_SND, mse_loss(x_hat_SND, target_SND) * len(stack)
    within_E = chosen.latents_E % stack.n
    x_hat_SND, losses, first = stack.b[:, None].expand(shape), [], 0
    for share in settings.matryoshka:
        last = max(first + 1, round(share * stack.n))
        part_E = values_E * ((within_E >= first) & (within_E < last))
        x_hat_SND = x_hat_SND + DecodeAt.apply(part_E, stack.W_dec, chosen, order).view(shape)
        losses.append(mse_loss(x_hat_SND, target_SND) * len(stack))
        first = last
    return x_hat_SND, torch.stack(losses).mean()


def _aux_losses(state: TrainState, x_ND: Tensor, error_SND: Tensor, settings: SAESettings) -> Tensor:
    """AuxK of each SAE [S]; SAEs without dead latents cost nothing."""
    stack = state.stack
    losses = [torch.zeros((), device=x_ND.device)] * len(stack)
    if settings.aux_alpha == 0:
        return torch.stack(losses)
    for s, dead in enumerate(state.dead):
        if len(dead):
            rows = dead + s * stack.n
            still_dead = state.since_fired[rows] >= settings.dead_after_vectors
            losses[s] = aux_loss(
                x_ND, stack.W_enc[rows], stack.W_dec[rows], stack.b[s], error_SND[s], still_dead, settings.aux_k
            )
    return torch.stack(losses)


def aux_loss(
    x_ND: Tensor, W_enc_UD: Tensor, W_dec_UD: Tensor, b_D: Tensor, error_ND: Tensor, still_dead_U: Tensor, aux_k: int
) -> Tensor:
    """AuxK (Gao et al. 2024, section 2.4): the U dead latents reconstruct the residual, at most ``aux_k`` a vector.

    ``error_ND`` is a detached x - x_hat: otherwise live latents would learn to leave a residual for the dead. The
    estimate has no bias. The loss is relative to the residual's variance, as the main one is to the vectors'.
    """
    pre_NU = (x_ND - b_D) @ W_enc_UD.T
    z_NU = torch.where(still_dead_U, pre_NU, 0).relu()
    if aux_k < z_NU.shape[1]:
        top, where = z_NU.topk(aux_k, dim=1, sorted=False)
        z_NU = torch.zeros_like(z_NU).scatter(1, where, top)
    variance = (error_ND - error_ND.mean(0)).square().sum(1).mean()
    return (error_ND - z_NU @ W_dec_UD).square().sum(1).mean() / variance.clamp_min(1e-12)


@torch.no_grad()
def shape_gradients(stack: Stack, clip: float) -> Tensor:
    """Project, freeze and clip in place; returns each SAE's gradient norm [S] before clipping.

    The part of a decoder row's gradient along the row is removed: the unit norm would undo that step, but Adam's
    moments would keep it. For unit rows |g - (g . f) f|^2 = |g|^2 - (g . f)^2, so nothing is computed twice.
    """
    enc, dec, bias = stack.W_enc.grad, stack.W_dec.grad, stack.b.grad
    assert enc is not None and dec is not None and bias is not None
    stacked = len(stack)
    along_M = torch.linalg.vecdot(dec, stack.W_dec)
    square_S = (_squares(dec, stacked) - along_M.view(stacked, -1).square().sum(1)).clamp_min_(0)
    square_S.masked_fill_(stack.frozen_S, 0)
    enc_S = _squares(enc, stacked).masked_fill_(stack.frozen_encoder_S, 0)
    bias_S = bias.square().sum(1).masked_fill_(stack.frozen_encoder_S, 0)
    norm_S = (square_S + enc_S + bias_S).sqrt()
    factor_S = (clip / norm_S.clamp_min(1e-12)).clamp_max(1.0)
    of_decoder_M = factor_S.masked_fill(stack.frozen_S, 0).repeat_interleave(stack.n, output_size=len(dec))
    dec.mul_(of_decoder_M[:, None]).addcmul_(stack.W_dec, (-along_M * of_decoder_M)[:, None])
    of_encoder_S = factor_S.masked_fill(stack.frozen_encoder_S, 0)
    enc.view(stacked, -1).mul_(of_encoder_S[:, None])
    bias.mul_(of_encoder_S[:, None])
    return norm_S


def _squares(tensor: Tensor, stacked: int) -> Tensor:
    """Sum of squares of each SAE's part [S]; a dot product, so without a squared copy."""
    flat = tensor.view(stacked, -1)
    return torch.linalg.vecdot(flat, flat)


def _count_firing(state: TrainState, chosen: Chosen, values_E: Tensor, n_vectors: int) -> Tensor:
    """Vectors since each latent last fired, kept on the device; returns the mean number on, [S]."""
    on_E = (values_E > 0).float()
    fired_M = torch.zeros(len(state.since_fired), device=on_E.device).index_add_(0, chosen.latents_E, on_E)
    state.since_fired.add_(n_vectors).masked_fill_(fired_M > 0, 0)
    return fired_M.view(len(state.stack), -1).sum(1) / n_vectors
