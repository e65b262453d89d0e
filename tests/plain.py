"""A study made by plain calls of its stages' work, one unit after the other: no server, no flow, no process besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from storage.shown import newest
from study.config import StudyConfig
from study.grown import show_grown
from study.opening import for_command, open_or_create
from study.publish import forget
from study.stages import stages_of
from study.study import Study
from study.undone import undone
from tasks.units import named, works_of

PICTURES = "draw"


def make(root: Path, config: StudyConfig, command: str = "run") -> dict[str, list[str]]:
    """Run what is missing of a command. Returns the units that were made, by stage."""
    with newest():
        study = for_command(open_or_create(root, config), command)
        made = {stage.name: _make(study, stage) for stage in stages_of(command) if stage.name != PICTURES}
    show_grown(study, [stage.name for stage in stages_of(command)])
    return {name: units for name, units in made.items() if units}


def _make(study: Study, stage: Any) -> list[str]:
    works, made = works_of(study, stage), list[str]()
    for work in works:
        todo = undone(study, stage, work.units)
        for unit in todo if stage.replaces else ():
            forget(study, stage.name, unit)
        if todo:
            named(stage.work)(study, **work.given)
            made += todo
    return made
