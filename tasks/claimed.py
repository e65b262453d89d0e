"""Running a stage beside other processes that share the study: what is free is claimed, a chain of units at a time.

Claims are this process's, wherever its tasks run: it renews them while threads or a cluster's workers do the work, and
who publishes asks whether they still hold.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prefect.task_runners import TaskRunner

from storage.claims import Claim, Claimant
from study.study import Study
from study.undone import undone
from tasks.logs import run_logger
from tasks.progress import StageProgress
from tasks.runner import FIRST_SECONDS, Runner, Step, release, submitted
from tasks.units import ALREADY_DONE, TAKEN_OVER, Work, task_of

POLL_SECONDS = 0.5  # between looks at what others hold


@dataclass(frozen=True)
class _Chain:
    """Works of the same units, one after the other; it is claimed by the name of the first stage's first unit."""

    works: tuple[Work, ...]

    @property
    def name(self) -> str:
        return f"{self.works[0].stage.name}/{self.works[0].units[0]}"


@dataclass(frozen=True)
class _Taken:
    """A chain that is this process's, what is left to do of it and, once they are submitted, the tasks that do it."""

    chain: _Chain
    claim: Claim
    left: list[Work]
    futures: list[Any] = field(default_factory=list)

    def ended(self) -> bool:
        return bool(self.futures[-1].wrapped_future.done())


class Sharing:
    """One stage, or several that are chained, of a study that several processes are at."""

    def __init__(
        self, study: Study, works: list[Work], todo: dict[str, set[str]], progress: dict[str, StageProgress]
    ) -> None:
        """``works``: all of the stages', done or not, so that every process gives a chain the same name.

        ``todo``: of every stage the units that were not done when its progress began.
        """
        by_units: dict[tuple[str, ...], list[Work]] = {}
        for work in works:
            by_units.setdefault(work.units, []).append(work)
        self._study, self._progress = study, progress
        self._claimant = Claimant(study.root, study.config.run.lease, f"concepts {works[0].stage.command}")
        self._chains = [_Chain(tuple(chained)) for chained in by_units.values()]
        self._waiting: list[_Chain] = []
        self._counted = {_key(work) for work in works if todo[work.stage.name].isdisjoint(work.units)}
        self._on_cpu = all(work.stage.on_cpu for work in works)
        self._made, self._told = 0, False

    def give_up(self) -> None:
        """Free all claims: the process is about to end."""
        self._claimant.free_all()

    def run(self, runner: Runner, patience: float = FIRST_SECONDS) -> int:
        """Do what others leave, until all is done. Returns how many units were made here.

        The first failure is raised after what is under way has ended, and whoever likes may try that unit again. Raises
        as ``Runner.started`` does.
        """
        self._waiting = [chain for chain in self._chains if self._left(chain)]
        if self._waiting:
            with self._claimant as claimant, runner.started(patience) as started:
                self._work(started, runner, claimant)
        return self._made

    def _work(self, started: TaskRunner[Any], runner: Runner, claimant: Claimant) -> None:
        under_way: list[_Taken] = []
        failures: list[BaseException] = []
        ended = threading.Event()
        while under_way or (self._waiting and not failures):
            if not failures:
                for taken in self._taken(runner.slots(self._on_cpu) - len(under_way), claimant):
                    self._begin(started, taken, ended)
                    under_way.append(taken)
            if not under_way:
                self._say_who_is_waited_for(claimant)
            if under_way or self._waiting:
                ended.wait(POLL_SECONDS)
                ended.clear()
            for taken in [one for one in under_way if one.ended()]:
                under_way.remove(taken)
                try:
                    self._take_in(taken)
                except BaseException as error:
                    failures.append(error)
                claimant.free(taken.claim)
        if failures:
            raise failures[0]

    def _begin(self, started: TaskRunner[Any], taken: _Taken, ended: threading.Event) -> None:
        for work in taken.left:
            given = {"study": self._study, "work": work, "claim": taken.claim}
            step = Step(task_of(work.stage), given, self._progress[work.stage.name], work.stage.on_cpu)
            taken.futures.append(submitted(started, self._study.config.run, step, taken.futures))
        taken.futures[-1].add_done_callback(lambda _future: ended.set())

    def _taken(self, most: int, claimant: Claimant) -> Iterator[_Taken]:
        """Up to ``most`` chains that nobody had; those that are done are dropped on the way."""
        for chain in list(self._waiting):
            if most <= 0:
                return
            claim = claimant.take(chain.name) if self._left(chain) else None
            left = self._left(chain)  # it may have been done between the look and the claim
            if claim and left:
                most -= 1
                self._waiting.remove(chain)
                yield _Taken(chain, claim, left)
            elif not left:
                self._waiting.remove(chain)
                if claim:
                    claimant.free(claim)

    def _left(self, chain: _Chain) -> list[Work]:
        """What is to be done of a chain; progress is told of what others have done."""
        left = [work for work in chain.works if undone(self._study, work.stage, work.units)]
        for work in chain.works:
            if work not in left and _key(work) not in self._counted:
                self._counted.add(_key(work))
                self._progress[work.stage.name].see()
        return left

    def _take_in(self, taken: _Taken) -> None:
        """Count what was made; what was taken over is waited for. Raises the error of the task that failed."""
        for work, future in zip(taken.left, taken.futures, strict=True):
            progress = self._progress[work.stage.name]
            try:
                made = future.result()
            except BaseException:
                if future.state.is_failed() or future.state.is_crashed():
                    progress.fail()
                raise
            release(future)
            if TAKEN_OVER in made:
                self._waiting.append(taken.chain)
                return
            if _key(work) not in self._counted:
                self._counted.add(_key(work))
                if ALREADY_DONE in made:
                    progress.see()
                else:
                    self._made += len(work.units)
                    progress.step(made)

    def _say_who_is_waited_for(self, claimant: Claimant) -> None:
        if self._waiting and not self._told:
            self._told = True
            names = [f"{chain.name} ({claimant.holder(chain.name)})" for chain in self._waiting[:3]]
            more = f" and {len(self._waiting) - 3} more" if len(self._waiting) > 3 else ""
            run_logger(self._study).info(f"waiting for units that others are at: {', '.join(names)}{more}")


def _key(work: Work) -> tuple[str, tuple[str, ...]]:
    return work.stage.name, work.units
