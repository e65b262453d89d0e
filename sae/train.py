"""Training all SAEs of a site from one read of its vectors, exactly resumable.

Every step is a function of (source, settings, members, seed, step number), so a run that is killed and resumed from
its checkpoint ends with the same bits as one that never stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch
from torch import Tensor

from sae.axes import axes_of
from sae.checkpoint import LOG, Logs, RunPaths, load_checkpoint, save_checkpoint, write_log
from sae.curve import measure_point, sample_digest
from sae.errors import SAEError
from sae.kinds import TRAINED
from sae.legacy import LATER, LEGACY
from sae.members import Member, Stack, turned_back
from sae.memory import freed_memory_kept
from sae.model import SAE
from sae.points import curve_steps
from sae.selection import batch_thresholds
from sae.settings import SAESettings
from sae.source import BatchSource, prefetched
from sae.step import StepFigures, TrainState, train_step

LOG_POINTS = 100  # rows of a training log, whatever the number of steps
THRESHOLD_BATCHES = 32
Progress = Callable[[int, int, Logs], None]


@dataclass(frozen=True)
class Trained:
    """SAEs for standardised vectors, in the members' order; steps and vectors seen by each; the log and the curves.

    ``waited`` is the share of this process's time that steps spent waiting for the loader, ``seconds`` that time;
    ``seconds_each`` is what all steps, those before a kill included, cost each SAE at this process's pace.
    """

    saes: dict[Member, SAE]
    steps: int
    n_vectors: int
    logs: Logs
    seconds: float
    waited: float
    seconds_each: float


@dataclass(frozen=True)
class Start:
    """Trained SAEs that a run goes on from, for a share of the steps that one from the beginning takes.

    ``saes`` reads them, in units of standardised vectors; ``digest`` says which they are.
    """

    saes: Callable[[], dict[Member, SAE]]
    share: float
    digest: str


def train(
    source: BatchSource,
    settings: SAESettings,
    members: list[Member],
    seed: int,
    paths: RunPaths | None = None,
    on_progress: Progress | None = None,
    device: str = "cpu",
    samples: Sequence[Tensor] = (),
    start: Start | None = None,
) -> Trained:
    """Train the members on standardised vectors; ``seed`` fixes the data's order, the settings how many are seen.

    With ``paths`` the run is checkpointed and continues what it finds there. ``on_progress(step, steps, logs)`` is
    called at each row of the log. ``samples`` are held-out standardised vectors, float32 [N, D], of one time each: with
    them the run has learning curves. ``start``: what the members go on from.

    Raises ``SAEError`` if the source has fewer vectors than one batch, if a checkpoint is of another run or
    damaged, or if the loss stops being finite.
    """
    per_epoch = source.n_batches(settings.batch_size)
    if not per_epoch:
        raise SAEError(
            f"there are fewer training vectors than sae.batch_size {settings.batch_size}: "
            "lower it or enlarge prompts.splits.train"
        )
    run = _Run(source, settings, members, seed, paths, device, samples, start)
    if run.step == 0:
        run.add_curve_point()
    clock, before = _Clock(), run.step
    with freed_memory_kept():
        for batch in clock.watch(prefetched(run.batches())):
            run.advance(batch.to(device, non_blocking=True), on_progress)
    return Trained(
        saes=run.finished(),
        steps=run.step,
        n_vectors=run.step * settings.batch_size,
        logs=run.logs,
        seconds=clock.total,
        waited=clock.waited / max(clock.total, 1e-9),
        seconds_each=clock.total / max(run.step - before, 1) * run.step / len(members),
    )


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
        samples: Sequence[Tensor],
        start: Start | None,
    ) -> None:
        widths = sorted({member.n for member in members})
        stacks = [
            Stack(source.d, [m for m in members if m.n == width], device, settings.encoder_start) for width in widths
        ]
        self.source, self.settings, self.members, self.seed = source, settings, members, seed
        self.per_epoch = source.n_batches(settings.batch_size)
        self.total = settings.steps(self.per_epoch, source.sites)
        if start is not None:
            self.total = max(1, round(start.share * self.total))
        self.points = curve_steps(self.total)
        self.states = [TrainState(stack, settings) for stack in stacks]
        self.logs = Logs.of(members)
        self.paths = paths
        self.identity = _identity(settings, members, seed, source, samples)
        if start is not None:
            self.identity["start"] = start.digest
        kept = load_checkpoint(paths, self.states, self.logs, self.identity) if paths else None
        if start is not None and kept is None:
            saes = start.saes()
            for stack in stacks:
                stack.begin_at(saes)
        self.axes = kept.axes if kept else axes_of(source, settings, seed)
        if self.axes is not None:
            for stack in stacks:
                stack.turn(self.axes.to(device), start_only=bool(kept))
        self.samples = [self.turned(x_ND) for x_ND in samples]

    @property
    def step(self) -> int:
        return self.states[0].step

    def batches(self) -> Iterator[Tensor]:
        """What is left of the run, pass after pass, in its axes."""
        return islice(self._passes(*divmod(self.step, self.per_epoch)), self.total - self.step)

    def _passes(self, first: int, skip: int) -> Iterator[Tensor]:
        for epoch in count(first):
            for batch in self.source.batches(self.settings.batch_size, self.seed, epoch, skip):
                yield self.turned(batch)
            skip = 0

    def turned(self, x_ND: Tensor) -> Tensor:
        """Standardised vectors in the axes that the run works in."""
        return x_ND if self.axes is None else x_ND @ self.axes.T

    def advance(self, x_ND: Tensor, on_progress: Progress | None) -> None:
        """One step of every stack, then the curve's point, the log and the checkpoint when they are due."""
        lr = learning_rate(self.settings, self.step, self.total)
        figures = [train_step(state, x_ND, self.settings, lr) for state in self.states]
        last = self.step == self.total
        if self.step in self.points:
            self.add_curve_point()
        if self.step % max(self.total // LOG_POINTS, 1) == 0 or last:
            self._log(figures, lr)
            if on_progress:
                on_progress(self.step, self.total, self.logs)
        if self.paths and (self.step % self.settings.checkpoint_every == 0 or last):
            save_checkpoint(self.paths, self.states, self.logs, self.identity, self.axes)
            for member, rows in self.logs.history.items():
                write_log(self.paths.folders[member] / LOG, rows)

    def add_curve_point(self) -> None:
        """Measure every member as it is now; nothing without a sample."""
        if not self.samples:
            return
        stacks, last = [state.stack for state in self.states], self.step == self.total
        if not all(torch.isfinite(parameter).all() for stack in stacks for parameter in stack.parameters()):
            raise SAEError(f"training diverged at step {self.step}: lower sae.lr")
        for member, rows in measure_point(stacks, self.samples, self.settings, self.step, last).items():
            self.logs.curves[member] += rows

    def _log(self, figures: list[StepFigures], lr: float) -> None:
        for state, seen in zip(self.states, figures, strict=True):
            columns = {name: values.tolist() for name, values in seen._asdict().items()}  # waits for the device
            for s, member in enumerate(state.stack.members):
                row = {name: values[s] for name, values in columns.items()}
                if row["fvu"] != row["fvu"] or row["fvu"] == float("inf"):
                    raise SAEError(f"training diverged at step {self.step} (k={member.k}): lower sae.lr")
                dead = len(state.dead[s]) / member.n
                self.logs.history[member].append({"step": self.step, "lr": lr, **row, "dead_fraction": dead})

    def finished(self) -> dict[Member, SAE]:
        """The trained SAEs in the members' order, of standardised vectors in their channels."""
        made = {}
        for state in self.states:
            thresholds = self._thresholds(state.stack)
            for s, member in enumerate(state.stack.members):
                sae = state.stack.member(s, thresholds[s])
                made[member] = sae if self.axes is None else turned_back(sae, self.axes)
        return {member: made[member] for member in self.members}

    @torch.no_grad()
    def _thresholds(self, stack: Stack) -> list[float] | list[None]:
        """BatchTopK's threshold at inference: the mean, over batches, of the one that lets k a vector through."""
        if self.settings.variant != "batchtopk":
            return [None] * len(stack)
        lowest = []
        unused = -(-self.total // self.per_epoch)  # the first pass whose order no step has seen
        batches = self.source.batches(self.settings.batch_size, self.seed, unused)
        for batch in islice(batches, THRESHOLD_BATCHES):
            there = self.turned(batch).to(stack.W_enc.device)
            lowest.append(batch_thresholds(stack, there, self.settings.precision))
        return torch.stack(lowest).mean(0).clamp_min(0).tolist()


def _identity(
    settings: SAESettings, members: list[Member], seed: int, source: BatchSource, samples: Sequence[Tensor]
) -> dict[str, object]:
    """What a checkpoint must agree with to be resumed.

    The sample of the curves is part of it: one from before there were curves has passed points that nobody measured.
    """
    kept = settings.model_dump(
        mode="json", exclude={"k", "expansion", "seeds", "frozen_control", "controls", "checkpoint_every", *LATER}
    )
    for name, legacy in LEGACY.items():  # checkpoints from before a setting do not name it
        if kept[name] == legacy:
            del kept[name]
    named = [f"k={m.k} n={m.n} seed={m.seed}{'' if m.kind == TRAINED else f' {m.kind}'}" for m in members]
    measured = {"curves": sample_digest(samples)} if samples else {}
    return {**kept, "members": named, "seed": seed, "data": source.digest(), **measured}


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
