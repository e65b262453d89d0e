"""Training all SAEs of a site from one read of its vectors, exactly resumable.

Every step is a function of (source, settings, members, seed, step number), so a run that is killed and resumed from
its checkpoint ends with the same bits as one that never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sae.checkpoint import History, RunPaths, load_checkpoint, save_checkpoint, write_log
from sae.errors import SAEError
from sae.kinds import TRAINED
from sae.members import Member, Stack
from sae.memory import freed_memory_kept
from sae.model import SAE
from sae.selection import batch_thresholds
from sae.settings import SAESettings
from sae.source import BatchSource, prefetched
from sae.step import StepFigures, TrainState, train_step

LOG_POINTS = 100  # rows of a training log, whatever the number of steps
THRESHOLD_BATCHES = 32


@dataclass(frozen=True)
class Trained:
    """SAEs for standardised vectors, in the members' order; steps and vectors seen by each; the training log.

    ``waited`` is the share of this process's time that steps spent waiting for the loader, ``seconds`` that time.
    """

    saes: dict[Member, SAE]
    steps: int
    n_vectors: int
    history: History
    seconds: float
    waited: float


def train(
    source: BatchSource,
    settings: SAESettings,
    members: list[Member],
    seed: int,
    paths: RunPaths | None = None,
    on_progress: Callable[[int, int, History], None] | None = None,
    device: str = "cpu",
) -> Trained:
    """Train the members on ``settings.epochs`` passes over standardised vectors; ``seed`` fixes the data's order.

    With ``paths`` the run is checkpointed and continues what it finds there. ``on_progress(step, steps, history)`` is
    called at each row of the log. Raises ``SAEError`` if the source has fewer vectors than one batch, if a checkpoint
    is of another run or damaged, or if the loss stops being finite.
    """
    per_epoch = source.n_batches(settings.batch_size)
    if not per_epoch:
        raise SAEError(
            f"there are fewer training vectors than sae.batch_size {settings.batch_size}: "
            "lower it or enlarge prompts.splits.train"
        )
    run = _Run(source, settings, members, seed, paths, device)
    clock = _Clock()
    with freed_memory_kept():
        for batch in clock.watch(prefetched(_batches_from(source, settings, seed, run.step, per_epoch))):
            run.advance(batch.to(device, non_blocking=True), per_epoch * settings.epochs, on_progress)
    return Trained(
        saes=run.finished(per_epoch),
        steps=run.step,
        n_vectors=run.step * settings.batch_size,
        history=run.history,
        seconds=clock.total,
        waited=clock.waited / max(clock.total, 1e-9),
    )


def _batches_from(source: BatchSource, settings: SAESettings, seed: int, step: int, per_epoch: int) -> Iterator[Tensor]:
    for epoch in range(step // per_epoch, settings.epochs):
        skip = step % per_epoch if epoch == step // per_epoch else 0
        yield from source.batches(settings.batch_size, seed, epoch, skip)


def learning_rate(settings: SAESettings, step: int, total: int) -> float:
    """Linear warm-up, plateau, linear decay to zero."""
    warmup = settings.warmup_fraction * total
    decay = settings.decay_fraction * total
    rising = (step + 1) / warmup if warmup else 1.0
    falling = (total - step) / decay if decay else 1.0
    return settings.lr * min(1.0, rising, falling)


class _Run:
    """The stacks of one run (one a width), fed with the same batches."""

    def __init__(
        self,
        source: BatchSource,
        settings: SAESettings,
        members: list[Member],
        seed: int,
        paths: RunPaths | None,
        device: str,
    ) -> None:
        widths = sorted({member.n for member in members})
        stacks = [Stack(source.d, [m for m in members if m.n == width], device) for width in widths]
        self.source, self.settings, self.members, self.seed = source, settings, members, seed
        self.states = [TrainState(stack, settings) for stack in stacks]
        self.history: History = {member: [] for member in members}
        self.paths = paths
        self.identity = _identity(settings, members, seed, source)
        if paths:
            load_checkpoint(paths, self.states, self.history, self.identity)

    @property
    def step(self) -> int:
        return self.states[0].step

    def advance(self, x_ND: Tensor, total: int, on_progress: Callable[[int, int, History], None] | None) -> None:
        """One step of every stack, then the log and the checkpoint when they are due."""
        lr = learning_rate(self.settings, self.step, total)
        figures = [train_step(state, x_ND, self.settings, lr) for state in self.states]
        last = self.step == total
        if self.step % max(total // LOG_POINTS, 1) == 0 or last:
            self._log(figures, lr)
            if on_progress:
                on_progress(self.step, total, self.history)
        if self.paths and (self.step % self.settings.checkpoint_every == 0 or last):
            save_checkpoint(self.paths, self.states, self.history, self.identity)
            for member, rows in self.history.items():
                write_log(self.paths.folders[member] / "log.jsonl", rows)

    def _log(self, figures: list[StepFigures], lr: float) -> None:
        for state, seen in zip(self.states, figures, strict=True):
            columns = {name: values.tolist() for name, values in seen._asdict().items()}  # waits for the device
            for s, member in enumerate(state.stack.members):
                row = {name: values[s] for name, values in columns.items()}
                if row["fvu"] != row["fvu"] or row["fvu"] == float("inf"):
                    raise SAEError(f"training diverged at step {self.step} (k={member.k}): lower sae.lr")
                dead = len(state.dead[s]) / member.n
                self.history[member].append({"step": self.step, "lr": lr, **row, "dead_fraction": dead})

    def finished(self, per_epoch: int) -> dict[Member, SAE]:
        """The trained SAEs in the members' order."""
        made = {}
        for state in self.states:
            thresholds = self._thresholds(state.stack, per_epoch)
            for s, member in enumerate(state.stack.members):
                made[member] = state.stack.member(s, thresholds[s])
        return {member: made[member] for member in self.members}

    @torch.no_grad()
    def _thresholds(self, stack: Stack, per_epoch: int) -> list[float] | list[None]:
        """BatchTopK's threshold at inference: the mean, over batches, of the one that lets k a vector through."""
        if self.settings.variant != "batchtopk":
            return [None] * len(stack)
        lowest = []
        count = min(THRESHOLD_BATCHES, per_epoch)
        batches = self.source.batches(self.settings.batch_size, self.seed, self.settings.epochs)
        for _, batch in zip(range(count), batches, strict=False):
            lowest.append(batch_thresholds(stack, batch.to(stack.W_enc.device), self.settings.precision))
        return torch.stack(lowest).mean(0).clamp_min(0).tolist()


def _identity(settings: SAESettings, members: list[Member], seed: int, source: BatchSource) -> dict[str, object]:
    """What a checkpoint must agree with to be resumed."""
    kept = settings.model_dump(
        mode="json", exclude={"k", "expansion", "seeds", "frozen_control", "controls", "checkpoint_every"}
    )
    if kept["buffer_gb"] is None:
        del kept["buffer_gb"]  # checkpoints from before the setting do not name it
    named = [f"k={m.k} n={m.n} seed={m.seed}{'' if m.kind == TRAINED else f' {m.kind}'}" for m in members]
    return {**kept, "members": named, "seed": seed, "data": source.digest()}


class _Clock:
    """How long the loop ran, and how much of it the iterator took."""

    def __init__(self) -> None:
        self.total = self.waited = 0.0

    def watch(self, items: Iterator[Tensor]) -> Iterator[Tensor]:
        started = before = time.perf_counter()
        for item in items:
            self.waited += time.perf_counter() - before
            yield item
            before = time.perf_counter()
        self.total = time.perf_counter() - started
