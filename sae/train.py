"""Training one TopK SAE with AuxK, exactly resumable.

Every step is a function of (source, settings, k, seed, step number), so a run that is killed and resumed from its
checkpoint ends with the same bits as one that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sae.checkpoint import TrainState, load_state, save_state
from sae.errors import SAEError
from sae.model import TopKSAE
from sae.settings import SAESettings
from sae.source import Statistics, VectorSource, measure


@dataclass(frozen=True)
class TrainResult:
    """The SAE for raw vectors; vectors seen; steps; loss history [(step, loss)]; the source's statistics."""

    sae: TopKSAE
    n_vectors: int
    steps: int
    history: list[tuple[int, float]]
    statistics: Statistics

    @property
    def gamma(self) -> float:
        """|mean| / |deviation| of the training vectors."""
        return self.statistics.gamma


def train(
    source: VectorSource,
    settings: SAESettings,
    k: int,
    seed: int,
    folder: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> TrainResult:
    """Train on ``settings.epochs`` passes over the source; checkpoints go to ``folder/checkpoint``.

    Raises ``SAEError`` if the source has fewer vectors than one batch, or if a checkpoint is of another run.
    """
    if source.n_vectors < settings.batch_size:
        raise SAEError(
            f"{source.n_vectors} vectors are fewer than sae.batch_size {settings.batch_size}: "
            "lower it or enlarge prompts.splits.train"
        )
    statistics = measure(source)
    checkpoint = folder / "checkpoint" if folder else None
    state = _start(source, settings, k, seed, checkpoint)
    per_epoch = source.n_vectors // settings.batch_size
    total = per_epoch * settings.epochs
    for batch in _batches_from(source, settings, seed, state.step, per_epoch):
        x_ND = (batch - statistics.mean) * statistics.scale
        loss = train_step(state, x_ND, settings, learning_rate(settings, state.step, total))
        state.step += 1
        if state.step % max(total // 50, 1) == 0 or state.step == total:
            state.history.append((state.step, float(loss)))
        if checkpoint and (state.step % settings.checkpoint_every == 0 or state.step == total):
            save_state(checkpoint, state, _identity(settings, k, seed, source))
        if on_progress:
            on_progress(state.step, total)
    sae = state.sae.folded(statistics.mean, statistics.scale)
    return TrainResult(sae, state.step * settings.batch_size, state.step, state.history, statistics)


def make_untrained(source: VectorSource, settings: SAESettings, k: int, seed: int) -> TopKSAE:
    """The control: the same initialisation and normalisation, no step of training."""
    statistics = measure(source)
    return _initial(source.d, settings, k, seed).folded(statistics.mean, statistics.scale)


def _initial(d: int, settings: SAESettings, k: int, seed: int) -> TopKSAE:
    sae = TopKSAE(d, settings.expansion * d, k)
    sae.initialise(torch.zeros(d), seed)  # inputs are centred: the mean is zero
    return sae


def _start(source: VectorSource, settings: SAESettings, k: int, seed: int, checkpoint: Path | None) -> TrainState:
    state = TrainState.fresh(_initial(source.d, settings, k, seed), settings)
    if checkpoint:
        load_state(checkpoint, state, _identity(settings, k, seed, source))
    return state


def _identity(settings: SAESettings, k: int, seed: int, source: VectorSource) -> dict[str, object]:
    """What a checkpoint must agree with to be resumed."""
    kept = settings.model_dump(mode="json", exclude={"k", "checkpoint_every"})
    return {**kept, "k": k, "seed": seed, "d": source.d, "n_vectors": source.n_vectors}


def _batches_from(
    source: VectorSource, settings: SAESettings, seed: int, step: int, per_epoch: int
) -> Iterator[Tensor]:
    for epoch in range(step // per_epoch, settings.epochs):
        skip = step % per_epoch if epoch == step // per_epoch else 0
        for batch in source.batches(settings.batch_size, seed, epoch, skip):
            yield torch.from_numpy(batch)


def learning_rate(settings: SAESettings, step: int, total: int) -> float:
    """Linear warm-up, plateau, linear decay to zero."""
    warmup = settings.warmup_fraction * total
    decay = settings.decay_fraction * total
    rising = (step + 1) / warmup if warmup else 1.0
    falling = (total - step) / decay if decay else 1.0
    return settings.lr * min(1.0, rising, falling)


def train_step(state: TrainState, x_ND: Tensor, settings: SAESettings, lr: float) -> Tensor:
    """One step on conditioned vectors. Returns the loss (a 0-d tensor)."""
    sae = state.sae
    pre_NM = sae.pre_activations(x_ND)
    values_NK, indices_NK = pre_NM.topk(sae.k, dim=1, sorted=False)
    values_NK = values_NK.relu()
    error_ND = x_ND - sae.decode(values_NK, indices_NK)
    loss = error_ND.square().sum(1).mean()
    dead_M = state.since_fired >= settings.dead_after_vectors
    if bool(dead_M.any()):
        loss = loss + settings.aux_alpha * aux_loss(sae, pre_NM, error_ND.detach(), dead_M, settings.aux_k)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    project_decoder_gradient(sae)
    torch.nn.utils.clip_grad_norm_(sae.parameters(), settings.clip * x_ND.shape[1] ** 0.5)
    state.optimizer.step()
    with torch.no_grad():
        sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))
        _count_firing(state, values_NK, indices_NK)
    return loss.detach()


def aux_loss(sae: TopKSAE, pre_NM: Tensor, error_ND: Tensor, dead_M: Tensor, aux_k: int) -> Tensor:
    """AuxK (Gao et al. 2024, section 2.4): dead latents reconstruct the residual.

    ``error_ND`` must be detached: otherwise live latents learn to leave a residual for the dead. No bias in the
    reconstruction. Scaled to the residual's variance times D, so that it compares with the main loss.
    """
    dead = dead_M.nonzero().squeeze(1)
    count = min(aux_k, len(dead))
    values_NK, local_NK = pre_NM[:, dead].topk(count, dim=1, sorted=False)
    indices_NK = dead[local_NK]
    estimate_ND = torch.nn.functional.embedding_bag(
        indices_NK, sae.W_dec, per_sample_weights=values_NK.relu(), mode="sum"
    )
    variance = (error_ND - error_ND.mean(0)).square().sum(1).mean()
    return (error_ND - estimate_ND).square().sum(1).mean() / variance.clamp_min(1e-12)


def project_decoder_gradient(sae: TopKSAE) -> None:
    """Remove the part of the decoder's gradient along each concept vector, which renormalising would undo."""
    gradient, direction = sae.W_dec.grad, sae.W_dec.data
    if gradient is not None:
        gradient.sub_((gradient * direction).sum(1, keepdim=True) * direction)


def _count_firing(state: TrainState, values_NK: Tensor, indices_NK: Tensor) -> None:
    """Vectors since each latent last fired; kept on the device."""
    fired = torch.zeros(state.sae.n, device=values_NK.device)
    fired.index_add_(0, indices_NK.flatten(), (values_NK > 0).float().flatten())
    state.since_fired += len(values_NK)
    state.since_fired[fired > 0] = 0
