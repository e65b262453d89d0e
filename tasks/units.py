"""The one Prefect task: it makes a unit of any stage that ``study.stages`` declares, unless the unit is made already.

Caching is off: what is on disk is the truth, and a stale cache must never hide a deleted store. For the same reason a
unit whose record is there is not made again: a cluster repeats the tasks whose results a dead worker had held.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib import import_module
from itertools import groupby
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from storage.claims import Claim, confirm_present, holds, working_under
from storage.shown import newest
from study.publish import forget, lacking
from study.slots import where_it_belongs
from study.stage import Stage
from study.study import Study
from study.threads import limited
from study.undone import undone
from study.words import duration, figures_words, unit_words
from tasks.certificates import read_certificates_once
from tasks.logs import run_logger, tell_the_server_alone, write_as_asked
from tasks.patience import be_patient
from tasks.progress import under_way

be_patient()  # here, because every process that runs a task imports this module
read_certificates_once()
tell_the_server_alone()
ALREADY_DONE, TAKEN_OVER = "already_done", "taken_over"  # what work returns that somebody else did


@dataclass(frozen=True)
class Work:
    """What makes one or several units of a stage: all that another process needs to be told."""

    stage: Stage
    units: tuple[str, ...]
    given: dict[str, Any]

    @property
    def name(self) -> str:
        """What it is called in Prefect's UI and in logs: ``label mid t=0.50 cond k=10``."""
        return f"{self.stage.name} {unit_words(self.units, self.given)}".strip()


def works_of(study: Study, stage: Stage, inputs: dict[str, Any] | None = None) -> list[Work]:
    """All that a stage has to do, done or not. ``inputs`` is given to each piece of work besides its own parameters."""
    units = stage.units(study)
    return [
        Work(stage, tuple(names), {**units[names[0]], **(inputs or {})})
        for names in (list(group) for _, group in groupby(units, key=units.__getitem__))
    ]


def named(reference: str) -> Any:
    """What ``module:name`` refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


@task(cache_policy=NO_CACHE)
@limited
def make_units(study: Study, work: Work, claim: Claim | None = None) -> dict[str, Any]:
    """Do a piece of work, or say what is there already or, under a claim that was lost, that others do it."""
    with working_under(claim, [(work.stage.name, unit) for unit in lacking(study, work.stage.name, list(work.units))]):
        try:
            confirm_present()
            return _make_units(study, work)
        except Exception:  # whoever took it over may have swept what we were writing
            if claim is None or holds(claim):
                raise
            run_logger(study, work.stage.name, work.name).warning(f"{work.name} was taken over by another process")
            return {TAKEN_OVER: list(work.units)}


def _make_units(study: Study, work: Work) -> dict[str, Any]:
    missing = undone(study, work.stage, work.units)
    if not missing:
        return {ALREADY_DONE: list(work.units)}
    if work.stage.replaces:
        # Files are replaced long before the unit is published: a record of before must not vouch for them.
        for unit in missing:
            forget(study, work.stage.name, unit)
    write_as_asked(study.config)
    began = time.monotonic()
    with under_way(work.name), newest(), where_it_belongs(study, work.stage) as here:
        summary: dict[str, Any] = named(work.stage.work)(here, **work.given)
    log_unit(study, work, time.monotonic() - began, summary)
    return summary


def log_unit(study: Study, work: Work, seconds: float, made: Any) -> None:
    """One line in the run's log: the unit in words, how long it took and what came of it."""
    figures = figures_words(made)
    message = f"{work.name}: {duration(seconds)}" + (f", {figures}" if figures else "")
    run_logger(study, work.stage.name, work.name).info(message)


def task_of(stage: Stage) -> Task[..., Any]:
    """The task under the stage's name, with its command's tag, which a limit of concurrent runs can be set for."""
    return make_units.with_options(name=stage.name, task_run_name="{work.name}", tags=[stage.command])
