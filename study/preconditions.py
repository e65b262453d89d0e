"""A stage needs the stages before it: say which is missing, by count and by command."""

from __future__ import annotations

from study.errors import StudyError
from study.publish import lacking
from study.stages import STAGES, stages_before
from study.study import Study


def units_of(study: Study, stage: str) -> list[str]:
    """Names of the completion records that make ``stage`` complete."""
    return list(STAGES[stage].units(study))


def require_before(study: Study, command: str) -> None:
    """Raise ``StudyError`` if a stage that a command's stages read from is incomplete."""
    for stage in stages_before(command):
        require(study, stage.name)


def require(study: Study, stage: str) -> None:
    """Raise ``StudyError`` if the stage is incomplete."""
    units = units_of(study, stage)
    if undone := lacking(study, stage, units):
        raise StudyError(
            f"{study.root}: stage {stage!r} has {len(undone)} of {len(units)} units missing: "
            f"run `concepts {STAGES[stage].command}` (or `concepts run`) on this folder first"
        )
